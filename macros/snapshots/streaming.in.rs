#[natsmicro::service]
pub trait Numbers {
    async fn count_up(&self, request: CountRequest) -> Result<Streaming<Count>, Status>;

    #[stream(window = 4096)]
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Total, Status>;

    #[stream(window = 64, window_bytes = "16KiB")]
    #[endpoint(timeout = "1h", max_in_flight = 16, validate = Line::check)]
    async fn chat(&self, cx: &Context, lines: Streaming<Line>) -> Result<Streaming<Line>, Status>;

    async fn ticks(&self) -> Result<natsmicro::Streaming<Tick>, Status>;
}
