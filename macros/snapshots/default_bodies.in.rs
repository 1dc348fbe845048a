#[natsmicro::service]
pub trait Users {
    async fn find(&self, FindUser { id, .. }: FindUser) -> Result<User, Status> {
        #![allow(unused_variables)]
        Err(Status::unimplemented("users are not found here"))
    }

    async fn list(&self, cx: &Context, mut request: ListUsers) -> natsmicro::Result<Streaming<User>> {
        request.limit = request.limit.min(100);
        self.list_all(request, cx.remaining()).await
    }

    #[endpoint(skip)]
    async fn list_all(&self, request: ListUsers, timeout: Option<Duration>) -> Result<Streaming<User>, Status> {
        Ok(Streaming::new(empty()))
    }
}
