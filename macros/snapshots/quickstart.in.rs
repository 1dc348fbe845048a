/// Stores user profiles.
#[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", timeout = "30s", metadata(team = "platform"))]
pub trait UserService {
    /// Saves a profile.
    #[kv_store(bucket = "user_profiles", key = "user.<id>", ttl = "1h", max_history = 5)]
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;

    #[endpoint(timeout = "60s", metadata(operation = "read"))]
    #[object_store(bucket = "reports", key = "report.<id>")]
    async fn generate_report(&self, cx: &Context, request: ReportRequest) -> Result<Report, Status>;
}
