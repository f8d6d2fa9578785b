//! Images: inspect, pull, tag, remove.

use super::Engine;
use super::image::Image;
use super::pull;
use super::pull::PullLine;
use super::refusal::is_unsure_of_image;
use super::refusal::pull_error;
use super::refusal::said;
use super::request::Call;
use super::request::Deadline;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::json;
use crate::reference::Reference;
use crate::secret::Secret;
use serde_json::Value;
use serde_json::json;
use std::thread;
use std::time::Duration;
use ureq::http::Method;

/// How often, and after which pause, an image is asked for again if the Engine is unsure of it.
const UNSURE_RETRIES: u32 = 3;
const UNSURE_PAUSE: Duration = Duration::from_millis(300);

impl Engine {
    /// One image, by id or reference (`GET /images/{name}/json`).
    pub fn image(&self, name: &str) -> Result<Image> {
        let path = format!("/images/{}/json", http::percent_encode(name, "/:@"));
        let mut found = self.get(&path, self.deadlines.call);
        for _ in 0..UNSURE_RETRIES {
            if !found.as_ref().is_err_and(is_unsure_of_image) {
                break;
            }
            thread::sleep(UNSURE_PAUSE);
            found = self.get(&path, self.deadlines.call);
        }
        found.map(Image::new)
    }

    /// All images with a name (`GET /images/json`). An entry has no settings.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.list_images("/images/json")
    }

    /// The images with a name that matches the pattern, in which `*` stands for a part without a slash.
    pub fn images_like(&self, pattern: &str) -> Result<Vec<Image>> {
        let filters = json::print(&json!({"reference": [pattern]}));
        self.list_images(&format!(
            "/images/json?filters={}",
            http::percent_encode(&filters, "")
        ))
    }

    fn list_images(&self, path: &str) -> Result<Vec<Image>> {
        let list = self.get(path, self.deadlines.call)?;
        let list = match list {
            Value::Array(list) => list,
            _ => Vec::new(),
        };
        Ok(list.into_iter().map(Image::new).collect())
    }

    /// One image. The result is `None` if there is no such image.
    pub fn find_image(&self, name: &str) -> Result<Option<Image>> {
        match self.image(name) {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One image as Podman's own API shows it (`GET /libpod/images/{name}/json`), rewritten as Docker would. Only
    /// this API shows the health check, which is moved to Docker's place. The id gets its algorithm.
    pub fn podman_image(&self, name: &str) -> Result<Image> {
        let path = format!("/libpod/images/{}/json", http::percent_encode(name, "/:@"));
        let mut json = self.get(&path, self.deadlines.call)?;
        let health_check = json.get_mut("Healthcheck").map(Value::take);
        if let Some(Value::Object(config)) = json.get_mut("Config") {
            config.insert("Healthcheck".to_owned(), health_check.unwrap_or_default());
        }
        if let Some(id) = json["Id"].as_str().filter(|id| !id.contains(':')) {
            json["Id"] = format!("sha256:{id}").into();
        }
        Ok(Image::new(json))
    }

    /// Pulls an image (`POST /images/create`) and reads the stream to its end.
    ///
    /// # Errors
    /// Also when the stream of a 200 contains an error, or when the stream is silent for longer than five minutes.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: Option<&str>,
        auth: Option<&Secret>,
        on_line: impl FnMut(&PullLine),
    ) -> Result<()> {
        let tag = reference.digest().map_or_else(
            || reference.tag().unwrap_or("latest").to_owned(),
            ToString::to_string,
        );
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            http::percent_encode(&reference.name(), ""),
            http::percent_encode(&tag, ":")
        );
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", http::percent_encode(platform, "")));
        }
        let request = format!("pull {reference} at {}", self.endpoint);
        let call = Call {
            method: Method::POST,
            path: &path,
            body: None,
            archive: None,
            auth,
            deadline: Deadline::Idle(self.deadlines.silence),
            version: None,
        };
        let answer = self
            .call(&call)
            .map_err(|error| pull_error(error, &request, reference))?;
        match pull::read(answer.into_body().into_reader(), on_line) {
            pull::End::Done => Ok(()),
            pull::End::Failed(words) => {
                let error = Error::refused(
                    request.clone(),
                    200,
                    format!("and then: {}", said(&words)),
                    None,
                );
                Err(pull_error(error, &request, reference))
            }
            pull::End::Broken(error) => Err(http::read_failure(&request, &error)),
        }
    }

    /// Makes a tag mean an image (`POST /images/{name}/tag`). The image that had the tag loses it.
    pub fn tag(&self, id: &str, reference: &Reference) -> Result<()> {
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            http::percent_encode(id, ":"),
            http::percent_encode(&reference.name(), ""),
            http::percent_encode(reference.tag().unwrap_or("latest"), "")
        );
        self.finish(&Call::new(Method::POST, &path, self.deadlines.heavy))
            .map(drop)
    }

    /// Removes an image that nothing uses (`DELETE /images/{name}`, not forced).
    pub fn remove_image(&self, id: &str) -> Result<()> {
        let path = format!("/images/{}", http::percent_encode(id, ":"));
        self.finish(&Call::new(Method::DELETE, &path, self.deadlines.heavy))
            .map(drop)
    }
}
