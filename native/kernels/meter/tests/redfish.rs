//! Redfish against a service on the loopback: what is asked, what is believed, what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swift_meter::source::redfish::options::{Authentication, RedfishOptions};
use swift_meter::source::redfish::secret::Secret;
use swift_meter::source::redfish::walk::Identity;
use swift_meter::source::redfish::{chassis, open};
use swift_meter::source::{Provenance, RawReading, SourceState};
use swift_meter::usage::MachineUsage;

/// A request: method, path, and its lines.
struct Asked {
    method: String,
    path: String,
    lines: Vec<String>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let found =
            self.lines.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value)
    }
}

type Answer = (u16, Vec<(&'static str, String)>, Value);

/// Serves `answer` until the test's process ends. Returns its address and the log of `METHOD path`.
fn serve(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut lines: Vec<String> = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let Some((method, rest)) = lines.first().and_then(|line| line.split_once(' ')) else { continue };
            let path = rest.split(' ').next().unwrap_or_default().to_owned();
            let asked = Asked { method: method.to_owned(), path, lines: lines.clone() };
            let length: usize = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let _ = reader.read_exact(&mut vec![0; length]);
            seen.lock().unwrap().push(format!("{} {}", asked.method, asked.path));
            let (status, headers, body) = answer(&asked);
            let body = body.to_string();
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head =
                format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, log)
}

fn options(url: &str) -> RedfishOptions {
    RedfishOptions {
        url: Some(url.to_owned()),
        user: Some("operator".to_owned()),
        password: Some(Secret::new("hunter2")),
        poll_ms: Some(100),
        // Longer than a busy machine makes a service on the loopback wait; only silence waits for its end.
        timeout_ms: Some(30_000),
        ..RedfishOptions::default()
    }
}

/// A service of one chassis with the older `Power`.
fn older(path: &str, watts: &Value) -> Option<Value> {
    let link = |path: &str| json!({ "@odata.id": path });
    Some(match path {
        "/redfish/v1/" => json!({ "Chassis": link("/redfish/v1/Chassis") }),
        "/redfish/v1/Chassis" => json!({ "Members": [link("/redfish/v1/Chassis/1")] }),
        "/redfish/v1/Chassis/1" => json!({ "Id": "1", "Name": "Server", "Power": link("/redfish/v1/Chassis/1/Power") }),
        "/redfish/v1/Chassis/1/Power" => json!({ "PowerControl": [{ "PowerConsumedWatts": watts }] }),
        _ => return None,
    })
}

#[test]
fn without_sessions_the_password_goes_with_each_request_and_power_is_integrated() {
    let (url, log) = serve(|asked| {
        // Base64 of operator:hunter2.
        let is_known = asked.header("authorization") == Some("Basic b3BlcmF0b3I6aHVudGVyMg==");
        match older(&asked.path, &json!(240)) {
            Some(resource) if is_known => (200, vec![], resource),
            Some(_) => (401, vec![], json!({})),
            None => (404, vec![], json!({})),
        }
    });
    let found = chassis(&options(&url), &Identity::default()).remove(0);
    assert_eq!(found.descriptor.id, "redfish:1");
    assert_eq!(
        (found.descriptor.state, found.descriptor.provenance),
        (SourceState::Included, Provenance::IntegratedPower)
    );
    let mut source = open(found).unwrap();
    let (mut readings, until): (Vec<Result<RawReading, String>>, _) =
        (Vec::new(), Instant::now() + Duration::from_secs(60));
    while readings.len() < 5 && Instant::now() < until {
        source.reader.drain(&MachineUsage::default(), &mut readings);
        std::thread::sleep(Duration::from_millis(10));
    }
    source.reader.end();
    source.reader.last(&MachineUsage::default(), &mut readings);
    let (first, last) = (readings[0].clone().unwrap(), readings.last().unwrap().clone().unwrap());
    let nanojoules = source.unit.cumulative_nanojoules(last.raw);
    assert_eq!(nanojoules, u128::from(last.monotonic_ns - first.monotonic_ns) * 240);
    let tries = log.lock().unwrap().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(tries, 1, "a service without sessions is asked for one once");
}

#[test]
fn credentials_go_nowhere_else() {
    let (elsewhere, stolen) = serve(|_| (200, vec![], json!({})));
    let target = elsewhere.clone();
    let (url, _) = serve(move |asked| match asked.path.as_str() {
        "/redfish/v1/" => (200, vec![], json!({ "Chassis": { "@odata.id": format!("{target}/redfish/v1/Chassis") } })),
        _ => (302, vec![("location", format!("{target}/redfish/v1/"))], json!({})),
    });
    let basic = RedfishOptions { authentication: Authentication::Basic, ..options(&url) };
    let found = chassis(&basic, &Identity::default()).remove(0);
    assert!(found.descriptor.reason.starts_with("ERR_ENERGY_REDFISH_ANSWER"), "{}", found.descriptor.reason);
    let redirected = chassis(&options(&url), &Identity::default()).remove(0);
    assert_eq!(redirected.descriptor.state, SourceState::Unavailable);
    assert!(stolen.lock().unwrap().is_empty());
}

#[test]
fn a_service_that_is_none_or_measures_nothing_says_so() {
    for (status, watts, code) in [
        (500, json!(100), "ERR_ENERGY_REDFISH_ANSWER"),
        (403, json!(100), "ERR_ENERGY_REDFISH_CREDENTIALS"),
        (200, json!(0), "ERR_ENERGY_REDFISH_CHASSIS"),
        (200, json!(65_535), "ERR_ENERGY_REDFISH_CHASSIS"),
        (200, json!(null), "ERR_ENERGY_REDFISH_CHASSIS"),
    ] {
        let (url, _) = serve(move |asked| (status, vec![], older(&asked.path, &watts).unwrap_or_default()));
        let basic = RedfishOptions { authentication: Authentication::Basic, ..options(&url) };
        let found = chassis(&basic, &Identity::default()).remove(0);
        assert_eq!(found.descriptor.state, SourceState::Unavailable);
        assert!(found.descriptor.reason.starts_with(code), "{status}: {}", found.descriptor.reason);
        assert!(!found.descriptor.reason.contains("hunter2"));
    }
}

#[test]
fn one_that_never_answers_costs_its_time_limit() {
    let (url, _) = serve(|_| {
        std::thread::sleep(Duration::from_secs(60));
        (200, vec![], json!({}))
    });
    let hasty = RedfishOptions { timeout_ms: Some(200), ..options(&url) };
    let found = chassis(&hasty, &Identity::default()).remove(0);
    assert!(found.descriptor.reason.starts_with("ERR_ENERGY_REDFISH_UNREACHABLE"), "{}", found.descriptor.reason);
    assert!(found.descriptor.reason.contains("timeoutMs"), "{}", found.descriptor.reason);
}
