#[natsmicro::service]
pub trait Echo {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
}
