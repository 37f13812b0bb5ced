//! One controller over HTTP: requests, sessions, and what goes wrong with them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, Response};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};

use super::failure::{CREDENTIALS, Failure, Result};
use super::options::{Access, Authentication, Credentials, Trust};
use super::secret::Secret;
use super::tls::{Refused, TlsConnector};

/// Sessions of the service, unless its root says otherwise.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// No resource about power is larger.
const LARGEST_BODY: u64 = 4 << 20;

/// The farewell is not waited for longer than this.
const FAREWELL: Duration = Duration::from_secs(1);

struct Session {
    token: Secret,
    /// To be deleted in the end: controllers have few of them.
    path: Option<String>,
}

/// See the module's description.
pub struct Client {
    agent: Agent,
    origin: String,
    credentials: Credentials,
    session: Option<Session>,
    /// Sessions do not exist there.
    is_basic: bool,
    refused: Refused,
    checks_certificates: bool,
    timeout: Duration,
}

/// Name and password as a header has them.
fn basic(name: &str, password: &Secret) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{name}:{}", password.expose());
    let mut encoded = "Basic ".to_owned();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            encoded.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    encoded
}

/// A path of this service: an address elsewhere would be sent the credentials.
fn own_path(text: &str) -> Option<&str> {
    (text.starts_with("/redfish/") && !text.contains(|c: char| c.is_whitespace() || c.is_control())).then_some(text)
}

fn retry_after(answer: &Response<ureq::Body>) -> Option<Duration> {
    let seconds: u64 = answer.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// `ERR_ENERGY_REDFISH_OPTION`.
    pub fn new(access: &Access) -> Result<Self> {
        let refused = Refused::default();
        let connector =
            ().chain(TcpConnector::default()).chain(TlsConnector::new(&access.trust, Arc::clone(&refused))?);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Neither a proxy nor another host is to see the credentials.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(access.timeout))
            .user_agent("swift-meter")
            .accept("application/json")
            .build();
        let is_basic = matches!(&access.credentials, Credentials::User { authentication: Authentication::Basic, .. });
        Ok(Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            origin: access.origin.clone(),
            credentials: access.credentials.clone(),
            session: None,
            is_basic,
            refused,
            checks_certificates: access.trust != Trust::Anyone,
            timeout: access.timeout,
        })
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Option<Duration>,
    ) -> Result<Response<ureq::Body>> {
        let what = format!("{method} {path}");
        let mut request =
            Request::builder().method(method).uri(format!("{}{path}", self.origin)).header("OData-Version", "4.0");
        match (&self.credentials, &self.session) {
            (Credentials::Token(token), _) => request = request.header("X-Auth-Token", token.expose()),
            (Credentials::User { .. }, Some(session)) => {
                request = request.header("X-Auth-Token", session.token.expose())
            }
            (Credentials::User { name, password, .. }, None) if body.is_none() && self.is_basic => {
                request = request.header("Authorization", basic(name, password));
            }
            _ => {}
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        // The error of a header may repeat its value.
        let request = request
            .body(text)
            .map_err(|_| Failure::option("the token, user or password has characters that no header can carry"))?;
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let request =
            self.agent.configure_request(request).timeout_global(Some(timeout.unwrap_or(self.timeout))).build();
        self.agent.run(request).map_err(|error| self.explain(&what, &error))
    }

    fn explain(&self, what: &str, error: &ureq::Error) -> Failure {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fingerprint) = refused {
            return Failure::new(
                "ERR_ENERGY_REDFISH_CERTIFICATE",
                format!(
                    "{what}: no trusted authority has signed the controller's certificate, or it is for another host, or not the pinned one ({error}). Its SHA-256 fingerprint is {fingerprint}: compare it with the one the controller shows in its own page, then pin it with the option fingerprint (SWIFT_REDFISH_FINGERPRINT), or give the authority's PEM file as caFile (SWIFT_REDFISH_CA_FILE)"
                ),
            );
        }
        let hint = match error {
            ureq::Error::Timeout(_) => "it did not answer in time; a longer time is the option timeoutMs",
            _ if self.checks_certificates => {
                "check the address, the network to the controller and that its Redfish service is on"
            }
            _ => "check the address and the network to the controller",
        };
        Failure::new("ERR_ENERGY_REDFISH_UNREACHABLE", format!("{what}: {error}; {hint}"))
    }

    /// Begin a session, where there can be one and none is open.
    fn log_in(&mut self) -> Result<()> {
        let Credentials::User { name, password, authentication } = &self.credentials else { return Ok(()) };
        if self.session.is_some() || self.is_basic {
            return Ok(());
        }
        let body = serde_json::json!({ "UserName": name, "Password": password.expose() });
        let answer = self.send(Method::POST, SESSIONS, Some(&body), None)?;
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let location = header("location");
        let path = location.as_deref().map(|text| text.strip_prefix(&self.origin).unwrap_or(text)).and_then(own_path);
        match (status, header("x-auth-token")) {
            (200..=299, Some(token)) => {
                self.session = Some(Session { token: Secret::new(token), path: path.map(str::to_owned) });
                Ok(())
            }
            (401 | 403, _) => Err(refusal(status, "beginning a session", retry_after(&answer))),
            // No service of sessions; without a token, one that is none.
            (404 | 405 | 501 | 200..=299, _) if *authentication == Authentication::Auto => {
                self.is_basic = true;
                Ok(())
            }
            _ => Err(unexpected(status, "beginning a session", retry_after(&answer))),
        }
    }

    /// A resource of the service.
    ///
    /// # Errors
    /// `ERR_ENERGY_REDFISH_UNREACHABLE`, `…_CERTIFICATE`, `…_CREDENTIALS`, `…_ANSWER`.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let Some(path) = own_path(path) else {
            return Err(Failure::answer(
                "the controller names a resource outside its own /redfish/; it is not followed",
            ));
        };
        let had_session = self.session.is_some();
        self.log_in()?;
        let mut answer = self.send(Method::GET, path, None, None)?;
        if answer.status() == 401 && had_session {
            // The session has expired, or the controller was restarted: once more with a new one.
            self.session = None;
            self.log_in()?;
            answer = self.send(Method::GET, path, None, None)?;
        }
        let status = answer.status().as_u16();
        let what = format!("GET {path}");
        match status {
            200..=299 => {}
            401 | 403 => {
                // Without a right to this resource the session is still one, to be ended in the end.
                if status == 401 {
                    self.session = None;
                }
                return Err(refusal(status, &what, retry_after(&answer)));
            }
            _ => return Err(unexpected(status, &what, retry_after(&answer))),
        }
        let text = answer.body_mut().with_config().limit(LARGEST_BODY).read_to_string();
        let text = text.map_err(|error| self.explain(&what, &error))?;
        serde_json::from_str(&text).map_err(|error| Failure::answer(format!("{what}: the answer is not JSON: {error}")))
    }
}

fn refusal(status: u16, what: &str, retry_after: Option<Duration>) -> Failure {
    let message = format!(
        "{what}: the controller refused the credentials (status {status}); give valid ones as user and password or token (SWIFT_REDFISH_USER and SWIFT_REDFISH_PASSWORD, or SWIFT_REDFISH_TOKEN) of an account that may read. They are tried again rarely, so that the account is not locked"
    );
    Failure { code: CREDENTIALS, message, status: Some(status), retry_after }
}

fn unexpected(status: u16, what: &str, retry_after: Option<Duration>) -> Failure {
    let message = format!("{what}: the controller answered with status {status}");
    Failure { status: Some(status), retry_after, ..Failure::answer(message) }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(path) = self.session.as_ref().and_then(|session| session.path.clone()) {
            // A controller that does not hear it lets the session expire.
            let _ = self.send(Method::DELETE, &path, None, Some(FAREWELL));
        }
    }
}

/// A client that several chassis share.
pub type Shared = Arc<Mutex<Client>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_base64() {
        // RFC 7617, section 2, and the two kinds of padding.
        assert_eq!(basic("Aladdin", &Secret::new("open sesame")), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("a", &Secret::new("b")), "Basic YTpi");
        assert_eq!(basic("a", &Secret::new("bcd")), "Basic YTpiY2Q=");
    }

    #[test]
    fn only_paths_of_the_service_are_followed() {
        assert!(own_path("/redfish/v1/Chassis/1").is_some());
        for text in
            ["http://elsewhere/redfish/v1", "//elsewhere/redfish/", "/other", "/redfish/v1/a b", "/redfish/\r\nX: y"]
        {
            assert_eq!(own_path(text), None, "{text}");
        }
    }
}
