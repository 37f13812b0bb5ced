//! Where the controller is, who asks, and how far it is trusted.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, Result};
use super::secret::Secret;

/// How a name and a password are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// A session where the controller has them, else with every request.
    #[default]
    Auto,
    /// A session; its token is renewed when it expires, and it is ended with the ledger.
    Session,
    /// Name and password with every request.
    Basic,
}

/// Which of two readings of one chassis is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The energy counter, unless its steps are coarse and there is a power reading.
    #[default]
    Auto,
    /// The energy counter, however coarse.
    Counter,
    /// The power reading.
    Power,
}

/// Options as given; what is left out comes from the environment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RedfishOptions {
    /// Address, such as `https://10.0.0.7`. Default: `SWIFT_REDFISH_URL`, else no controller is asked.
    pub url: Option<String>,
    /// Name. Default: `SWIFT_REDFISH_USER`.
    pub user: Option<String>,
    /// Password. Default: `SWIFT_REDFISH_PASSWORD`.
    pub password: Option<Secret>,
    /// A token that is sent as `X-Auth-Token`. Default: `SWIFT_REDFISH_TOKEN`.
    pub token: Option<Secret>,
    /// How name and password are used.
    pub authentication: Authentication,
    /// PEM file of the authority that signed the controller's certificate. Default: `SWIFT_REDFISH_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the controller's own certificate, hexadecimal. Default: `SWIFT_REDFISH_FINGERPRINT`.
    pub fingerprint: Option<String>,
    /// Check no certificate, and send credentials over plain HTTP if asked to. Default: `SWIFT_REDFISH_INSECURE=1`.
    pub insecure: bool,
    /// Ids of the chassis to count, separated by commas. Default: `SWIFT_REDFISH_CHASSIS`, else this machine's own.
    pub chassis: Option<String>,
    /// Counter or power.
    pub prefer: Preference,
    /// Shortest time between two polls, milliseconds, 100 to 600,000. Default 1000.
    pub poll_ms: Option<u64>,
    /// Longest time for one request, milliseconds, 100 to 60,000. Default 5000.
    pub timeout_ms: Option<u64>,
}

/// How the controller's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// By the authorities of this system.
    System,
    /// By the authorities of a PEM file.
    Authorities(PathBuf),
    /// It is this one.
    Fingerprint([u8; 32]),
    /// Not at all.
    Anyone,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// A bearer of a token.
    Token(Secret),
    /// A user.
    User {
        /// Name.
        name: String,
        /// Password.
        password: Secret,
        /// How they are used.
        authentication: Authentication,
    },
}

/// Checked options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `https://host:port` without a path.
    pub origin: String,
    /// Who asks.
    pub credentials: Credentials,
    /// How the certificate is judged; unused over plain HTTP.
    pub trust: Trust,
    /// Chassis to count; empty for this machine's own.
    pub chassis: Vec<String>,
    /// Counter or power.
    pub prefer: Preference,
    /// Time between polls.
    pub poll: Duration,
    /// Limit of one request.
    pub timeout: Duration,
}

fn parse_fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: String =
        text.trim().trim_start_matches("sha256:").trim_start_matches("SHA256:").replace([':', ' '], "");
    let bytes: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
        Failure::option(format!(
            "the fingerprint has {} characters without colons; it is the SHA-256 of the certificate, 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints it",
            digits.len()
        ))
    })
}

/// Scheme, origin and host of an address.
fn parse_url(text: &str) -> Result<(bool, String, String)> {
    let refuse = |why: &str| {
        Err(Failure::option(format!(
            "the address of the management controller {why}; write it like https://10.0.0.7 or https://bmc.example:8443"
        )))
    };
    // Never repeated in a message: it may hold a password.
    if text.contains('@') {
        return refuse(
            "holds a user or password, which would end up in logs: give them as user and password or in SWIFT_REDFISH_USER and SWIFT_REDFISH_PASSWORD",
        );
    }
    let (is_secure, rest) = match text.trim().split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        _ => return refuse("does not begin with https:// or http://"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(path.trim_end_matches('/'), "" | "redfish" | "redfish/v1") {
        return refuse("has a path; the service is found at /redfish/v1");
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let origin = format!("{}://{authority}", if is_secure { "https" } else { "http" });
    if host.is_empty() || origin.parse::<ureq::http::Uri>().is_err() {
        return refuse("names no host");
    }
    Ok((is_secure, origin, host.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl RedfishOptions {
    /// With what the environment adds. A lookup is passed in, so that tests need not change the process's own.
    pub fn with_environment(&self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |given: &Option<String>, name: &str| {
            given
                .clone()
                .or_else(|| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()))
        };
        let secret = |given: &Option<Secret>, name: &str| given.clone().or_else(|| text(&None, name).map(Secret::new));
        let insecure = text(&None, "SWIFT_REDFISH_INSECURE").is_some_and(|value| value == "1" || value == "true");
        let mut all = self.clone();
        all.url = text(&self.url, "SWIFT_REDFISH_URL");
        // Credentials of one place are not mixed with those of the other.
        if self.user.is_none() && self.password.is_none() && self.token.is_none() {
            all.user = text(&None, "SWIFT_REDFISH_USER");
            all.password = secret(&None, "SWIFT_REDFISH_PASSWORD");
            all.token = secret(&None, "SWIFT_REDFISH_TOKEN");
        }
        all.ca_file = self.ca_file.clone().or_else(|| text(&None, "SWIFT_REDFISH_CA_FILE").map(PathBuf::from));
        all.fingerprint = text(&self.fingerprint, "SWIFT_REDFISH_FINGERPRINT");
        all.insecure = self.insecure || insecure;
        all.chassis = text(&self.chassis, "SWIFT_REDFISH_CHASSIS");
        all
    }

    /// Check everything; `None` where there is no address.
    ///
    /// # Errors
    /// `ERR_ENERGY_REDFISH_OPTION`; `ERR_ENERGY_REDFISH_PLAIN` for credentials over plain HTTP.
    pub fn access(&self) -> Result<Option<Access>> {
        let Some(url) = &self.url else { return Ok(None) };
        let (is_secure, origin, host) = parse_url(url)?;
        let credentials = match (&self.token, &self.user, &self.password) {
            (Some(token), None, _) => Credentials::Token(token.clone()),
            (None, Some(name), Some(password)) => Credentials::User {
                name: name.clone(),
                password: password.clone(),
                authentication: self.authentication,
            },
            (None, None, None) => Credentials::None,
            (Some(_), Some(_), _) => return Err(Failure::option("a token and a user are given; give one of them")),
            (None, ..) => {
                return Err(Failure::option(
                    "a user without a password is given, or a password without a user; give both",
                ));
            }
        };
        if !is_secure && credentials != Credentials::None && !self.insecure && !is_loopback(&host) {
            return Err(Failure::new(
                "ERR_ENERGY_REDFISH_PLAIN",
                "credentials would cross the network in the clear; use https://, or set the option insecure (SWIFT_REDFISH_INSECURE=1) to allow it",
            ));
        }
        let trust = match (&self.fingerprint, &self.ca_file, self.insecure) {
            (Some(fingerprint), ..) => Trust::Fingerprint(parse_fingerprint(fingerprint)?),
            (None, Some(file), _) => Trust::Authorities(file.clone()),
            (None, None, true) => Trust::Anyone,
            (None, None, false) => Trust::System,
        };
        let within = |name: &str, given: Option<u64>, default: u64, range: std::ops::RangeInclusive<u64>| {
            let value = given.unwrap_or(default);
            if range.contains(&value) {
                return Ok(Duration::from_millis(value));
            }
            Err(Failure::option(format!("{name} is {value}; it must be from {} to {}", range.start(), range.end())))
        };
        Ok(Some(Access {
            origin,
            credentials,
            trust,
            chassis: self
                .chassis
                .iter()
                .flat_map(|text| text.split(','))
                .map(|id| id.trim().to_owned())
                .filter(|id| !id.is_empty())
                .collect(),
            prefer: self.prefer,
            poll: within("redfish.pollMs", self.poll_ms, 1000, 100..=600_000)?,
            timeout: within("redfish.timeoutMs", self.timeout_ms, 5000, 100..=60_000)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> RedfishOptions {
        RedfishOptions { url: Some(url.to_owned()), ..RedfishOptions::default() }
    }

    fn user(options: RedfishOptions) -> RedfishOptions {
        RedfishOptions { user: Some("root".to_owned()), password: Some(Secret::new("hunter2")), ..options }
    }

    #[test]
    fn addresses() {
        assert_eq!(RedfishOptions::default().access(), Ok(None));
        let origin = |text: &str| url(text).access().unwrap().unwrap().origin;
        assert_eq!(origin("https://bmc.example/redfish/v1/"), "https://bmc.example");
        assert_eq!(origin("HTTP://[::1]:8000"), "http://[::1]:8000");
        for text in ["10.0.0.7", "ftp://x", "https://", "https://x/ui", "https://a b"] {
            assert_eq!(url(text).access().unwrap_err().code, "ERR_ENERGY_REDFISH_OPTION", "{text}");
        }
        let with_password = url("https://root:hunter2@bmc").access().unwrap_err();
        assert!(!with_password.to_string().contains("hunter2"));
    }

    #[test]
    fn credentials_do_not_cross_a_network_in_the_clear() {
        assert_eq!(user(url("http://10.0.0.7")).access().unwrap_err().code, "ERR_ENERGY_REDFISH_PLAIN");
        for options in [
            user(url("http://127.0.0.1:1")),
            user(url("http://[::1]")),
            user(url("https://10.0.0.7")),
            url("http://10.0.0.7"),
        ] {
            assert!(options.access().is_ok(), "{options:?}");
        }
        let forced = RedfishOptions { insecure: true, ..user(url("http://10.0.0.7")) };
        assert!(forced.access().is_ok());
    }

    #[test]
    fn what_is_left_out_comes_from_the_environment_and_secrets_stay_secret() {
        let lookup = |name: &str| {
            let value = match name {
                "SWIFT_REDFISH_URL" => "https://bmc",
                "SWIFT_REDFISH_USER" => "root",
                "SWIFT_REDFISH_PASSWORD" => "hunter2",
                "SWIFT_REDFISH_CHASSIS" => "1U, 2U",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let options = RedfishOptions::default().with_environment(lookup);
        let access = options.access().unwrap().unwrap();
        assert!(matches!(access.credentials, Credentials::User { .. }));
        assert_eq!(access.chassis, ["1U", "2U"]);
        let shown = format!("{options:?} {access:?} {}", serde_json::to_string(&options).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let token =
            RedfishOptions { token: Some(Secret::new("t")), ..RedfishOptions::default() }.with_environment(lookup);
        assert_eq!(token.access().unwrap().unwrap().credentials, Credentials::Token(Secret::new("t")));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let bad = [
            RedfishOptions { user: Some("root".to_owned()), ..url("https://bmc") },
            RedfishOptions { token: Some(Secret::new("t")), ..user(url("https://bmc")) },
            RedfishOptions { fingerprint: Some("12:34".to_owned()), ..url("https://bmc") },
            RedfishOptions { poll_ms: Some(1), ..url("https://bmc") },
        ];
        for options in bad {
            assert_eq!(options.access().unwrap_err().code, "ERR_ENERGY_REDFISH_OPTION", "{options:?}");
        }
        let colons = vec!["AB"; 32].join(":");
        let pinned = RedfishOptions { fingerprint: Some(colons), ..url("https://bmc") };
        assert_eq!(pinned.access().unwrap().unwrap().trust, Trust::Fingerprint([0xAB; 32]));
    }
}
