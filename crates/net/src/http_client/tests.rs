//! Against servers that answer raw bytes. The expected texts were read off the reference's HTTP checks, but for those of a
//! body that times out or is too large, which no check shows.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::{Client, KeepAlive, Redirects, Request, Url};
use crate::tls::Settings;

const BODY_MAX: usize = 1 << 16;

/// Answers each connection's first read with `answer`, in which `{echo}` is replaced by what was read; after one with
/// `{hang}` the connection stays open.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let count = stream.read(&mut read).await.unwrap_or(0);
                let echo = String::from_utf8_lossy(&read[..count]).into_owned();
                let _ = stream.write_all(answer.replace("{echo}", &echo).replace("{hang}", "").as_bytes()).await;
                if answer.contains("{hang}") {
                    let _ = stream.read(&mut read).await;
                }
            });
        }
    });
    port
}

fn client() -> Client {
    Client { tls: None, redirects: Redirects::DEFAULT, timeout: Some(Duration::from_secs(10)) }
}

/// Status line and body, or the error; ports in it become `PORT`.
async fn outcome(client: &Client, request: Request) -> String {
    match client.send(request).await {
        Ok(mut response) => {
            let line = response.status_line();
            match response.read_to_end(BODY_MAX).await {
                Ok(body) => format!("{line}|{}", String::from_utf8_lossy(&body)),
                Err(error) => format!("{line}|{error}"),
            }
        }
        Err(error) => error.to_string(),
    }
}

async fn check(answer: &'static str, expect: &str) {
    let port = server(answer).await;
    let request = Request::parse("GET", &format!("http://127.0.0.1:{port}")).unwrap();
    let got = outcome(&client(), request).await;
    assert_eq!(got.replace(&port.to_string(), "PORT"), expect, "answering {answer:?}");
}

#[tokio::test]
async fn answers_are_taken_as_go_takes_them() {
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK|hi").await;
    check("HTTP/1.0 404 File not found\r\n\r\nnope", "404 File not found|nope").await;
    check("HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n", "429 Slow Down|").await;
    check("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200|").await;
    check("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 |").await;
    check("HTTP/1.1 302 Found\r\nContent-Length: 1\r\n\r\nx", "302 Found|x").await;
    check("", "Get \"http://127.0.0.1:PORT\": EOF").await;
    check(
        "SSH-2.0-OpenSSH\r\nfoo\"bar\r\n",
        "Get \"http://127.0.0.1:PORT\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-OpenSSH\"",
    )
    .await;
    check(
        "HTTP/1.1 2x0 OK\r\n\r\nhi",
        "Get \"http://127.0.0.1:PORT\": net/http: HTTP/1.x transport connection broken: malformed HTTP status code \"2x0\"",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\nfoo bar\r\n\r\nhi",
        "Get \"http://127.0.0.1:PORT\": net/http: HTTP/1.x transport connection broken: malformed MIME header: missing colon: \"foo bar\"",
    )
    .await;
    check(
        "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
        "Get \"/next\": stopped after 10 redirects",
    )
    .await;
    check(
        "HTTP/1.1 302 Found\r\nLocation: ftp://h/x\r\nContent-Length: 1\r\n\r\nx",
        "Get \"ftp://h/x\": unsupported protocol scheme \"ftp\"",
    )
    .await;
    check(
        "HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 1\r\n\r\nx",
        "Get \"http://127.0.0.1:PORT\": failed to parse Location header \"http://[bad\": parse \"http://[bad\": missing ']' in host",
    )
    .await;
    check(
        "HTTP/1.1 308 P\r\nLocation: http://127.0.0.1:1/zz\r\nContent-Length: 1\r\n\r\nx",
        "Get \"http://127.0.0.1:1/zz\": dial tcp 127.0.0.1:1: connect: connection refused",
    )
    .await;
}

#[tokio::test]
async fn requests_fail_in_gos_words() {
    async fn check(method: &str, url: &str, expect: &str) {
        let got = match Request::parse(method, url) {
            Ok(request) => outcome(&client(), request).await,
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "requesting {method} {url:?}");
    }
    check(
        "POST",
        "http://127.0.0.1:1/p",
        "Post \"http://127.0.0.1:1/p\": dial tcp 127.0.0.1:1: connect: connection refused",
    )
    .await;
    check(
        "GET",
        "http://u:secret@127.0.0.1:1/x y",
        "Get \"http://u:***@127.0.0.1:1/x%20y\": dial tcp 127.0.0.1:1: connect: connection refused",
    )
    .await;
    check("", "http:///foo", "Get \"http:///foo\": http: no Host in request URL").await;
    check("", "/foo", "Get \"/foo\": unsupported protocol scheme \"\"").await;
    check("", "localhost:80/x", "Get \"localhost:80/x\": unsupported protocol scheme \"localhost\"").await;
    check("G ET", "http://127.0.0.1:1/", "net/http: invalid method \"G ET\"").await;
    check("", "http://127.0.0.1:99999/", "Get \"http://127.0.0.1:99999/\": dial tcp: address 99999: invalid port")
        .await;
}

#[tokio::test]
async fn the_timeout_bounds_headers_and_body() {
    let client = Client { timeout: Some(Duration::from_millis(200)), ..client() };
    for (answer, expect) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{hang}",
            "200 OK|Get \"http://127.0.0.1:PORT\": context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        ),
        (
            "HTTP/1.1 200 OK\r\n{hang}",
            "Get \"http://127.0.0.1:PORT\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
    ] {
        let port = server(answer).await;
        let request = Request::parse("GET", &format!("http://127.0.0.1:{port}")).unwrap();
        let got = outcome(&client, request).await;
        assert_eq!(got.replace(&port.to_string(), "PORT"), expect);
    }
}

#[tokio::test]
async fn redirects_change_methods_and_keep_secrets() {
    let echo = server("HTTP/1.1 200 OK\r\n\r\n{echo}").await;
    let see_other: &'static str =
        format!("HTTP/1.1 303 S\r\nLocation: http://127.0.0.1:{echo}/a b?c=d\r\nContent-Length: 0\r\n\r\n").leak();
    let repeat: &'static str =
        format!("HTTP/1.1 307 S\r\nLocation: http://localhost:{echo}/ab?c=d\r\nContent-Length: 0\r\n\r\n").leak();
    for (answer, method, line, secret, body) in [
        (see_other, "POST", "GET /a%20b?c=d HTTP/1.1", true, ""),
        (repeat, "POST", "POST /ab?c=d HTTP/1.1", false, "hello"),
    ] {
        let port = server(answer).await;
        let mut request = Request::parse(method, &format!("http://127.0.0.1:{port}/p")).unwrap();
        request.header("Authorization", "x").unwrap();
        request.body = Bytes::from_static(b"hello");
        let got = outcome(&client(), request).await;
        assert!(got.starts_with(&format!("200 OK|{line}\r\n")), "{got}");
        assert_eq!(got.contains("Authorization: x\r\n"), secret, "{got}");
        assert!(got.contains(&format!("Referer: http://127.0.0.1:{port}/p\r\n")), "{got}");
        assert!(got.ends_with(&format!("\r\n\r\n{body}")), "{got}");
    }
    let port = server(see_other).await;
    let off = Client { redirects: Redirects::Off, ..client() };
    let request = Request::parse("GET", &format!("http://127.0.0.1:{port}")).unwrap();
    assert_eq!(outcome(&off, request).await, "303 S|");
}

#[tokio::test]
async fn headers_and_host_are_sent_as_given() {
    let port = server("HTTP/1.1 200 OK\r\n\r\n{echo}").await;
    let mut request = Request::parse("PUT", &format!("http://u:pw@127.0.0.1:{port}/x")).unwrap();
    request.header("Host", "foo.bar").unwrap();
    request.header("X-A", "1").unwrap();
    request.header("X-A", "2").unwrap();
    assert_eq!(
        request.header("a b", "x").unwrap_err().to_string(),
        format!("Put \"http://u:***@127.0.0.1:{port}/x\": net/http: invalid header field name \"a b\"")
    );
    assert_eq!(
        request.header("ab", "x\ny").unwrap_err().to_string(),
        format!("Put \"http://u:***@127.0.0.1:{port}/x\": net/http: invalid header field value for \"ab\"")
    );
    let got = outcome(&client(), request).await;
    for line in
        ["Host: foo.bar", "X-A: 1", "X-A: 2", "Authorization: Basic dTpwdw==", "Content-Length: 0", "Connection: close"]
    {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {got}");
    }
}

#[tokio::test]
async fn a_body_beyond_its_cap_is_refused() {
    let port = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789").await;
    let request = Request::parse("GET", &format!("http://127.0.0.1:{port}")).unwrap();
    let mut response = client().send(request).await.unwrap();
    let error = response.read_to_end(9).await.unwrap_err();
    assert!(error.to_string().ends_with("response body is larger than 9 bytes"));
}

#[tokio::test]
async fn unix_sockets_carry_requests() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let missing = Request::new(Method::POST, Url::over_unix(path.clone(), "/x"));
    let text = outcome(&client(), missing).await;
    assert!(text.starts_with("Post \"http://%2F"), "{text}");
    assert!(text.ends_with("connect: no such file or directory"), "{text}");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 4096];
        let count = stream.read(&mut read).await.unwrap();
        assert!(String::from_utf8_lossy(&read[..count]).contains("Host: localhost\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    });
    let request = Request::new(Method::GET, Url::over_unix(path, "/x"));
    assert_eq!(outcome(&client(), request).await, "200 OK|hi");
}

#[tokio::test]
async fn a_kept_connection_serves_many_requests_and_is_replaced_when_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Each connection answers twice with its number, then closes.
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut read = vec![0; 4096];
                let _ = stream.read(&mut read).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    let mut kept = KeepAlive::new(client());
    let mut seen = String::new();
    for _ in 0..4 {
        let request = Request::parse("GET", &format!("http://127.0.0.1:{port}/")).unwrap();
        let mut response = kept.send(request).await.unwrap();
        seen.push_str(&String::from_utf8(response.read_to_end(9).await.unwrap()).unwrap());
    }
    assert_eq!(seen, "0011");
}

/// A TLS server for `names` that answers every request with `hi`; its port and its certificate as PEM.
async fn tls_server(names: &[&str], is_authority: bool) -> (u16, String) {
    let (der, pem, key) = if is_authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        (cert.der().clone(), cert.pem(), key.serialize_der())
    } else {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        (cert.der().clone(), cert.pem(), signing_key.serialize_der())
    };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut read = vec![0; 4096];
                let _ = stream.read(&mut read).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            });
        }
    });
    (port, pem)
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to_and_fails_in_gos_words() {
    async fn check(settings: Settings, url: &str, expect: &str) {
        let client = Client { tls: Some(settings.load().unwrap()), ..client() };
        let request = Request::parse("GET", url).unwrap();
        assert_eq!(outcome(&client, request).await, expect, "{settings:?}");
    }
    for is_authority in [false, true] {
        let (port, pem) = tls_server(&["localhost", "other.example"], is_authority).await;
        let (_, stranger) = tls_server(&["localhost"], false).await;
        let at_name = format!("https://localhost:{port}/");
        let at_ip = format!("https://127.0.0.1:{port}/");
        let trusting = Settings { ca_pem: Some(pem), ..Settings::default() };
        check(trusting.clone(), &at_name, "200 OK|hi").await;
        check(
            trusting.clone(),
            &at_ip,
            &format!(
                "Get \"{at_ip}\": tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"
            ),
        )
        .await;
        let expecting = |name: &str| Settings { server_name: Some(name.to_owned()), ..trusting.clone() };
        check(expecting("other.example"), &at_ip, "200 OK|hi").await;
        check(
            expecting("wrong.example"),
            &at_ip,
            &format!(
                "Get \"{at_ip}\": tls: failed to verify certificate: x509: certificate is valid for localhost, other.example, not wrong.example"
            ),
        )
        .await;
        let distrusting = Settings { ca_pem: Some(stranger), ..Settings::default() };
        check(
            distrusting.clone(),
            &at_name,
            &format!(
                "Get \"{at_name}\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
            ),
        )
        .await;
        let careless = Settings { skip_verify: true, ..distrusting };
        check(careless, &at_ip, "200 OK|hi").await;
    }
}

#[tokio::test]
async fn https_to_a_plain_server_is_told_apart() {
    let port = server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let client = Client { tls: Some(Settings::default().load().unwrap()), ..client() };
    let request = Request::parse("GET", &format!("https://127.0.0.1:{port}/")).unwrap();
    assert_eq!(
        outcome(&client, request).await,
        format!("Get \"https://127.0.0.1:{port}/\": http: server gave HTTP response to HTTPS client")
    );
}
