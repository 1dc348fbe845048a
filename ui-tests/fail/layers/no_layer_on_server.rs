// A value on a server that is no layer.

struct Audit;

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(Audit);
    drop(server);
}

fn main() {}
