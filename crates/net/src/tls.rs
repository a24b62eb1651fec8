//! TLS for outbound connections: settings as the configuration writes them, errors as Go's `crypto/tls` words them.
//!
//! Always true: verification is on unless `skip_verify` says otherwise, and even then the peer must prove that it
//! holds the key of the certificate it shows; without any given authority the system's roots decide.
//! Not here: listening, reloading, session tickets shared between connections.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::dial::Stream;
use crate::go_text;

/// A CA file or directory holds some certificates, not an archive.
const PEM_BYTES_MAX: u64 = 16 << 20;
/// How many files of a CA directory are read.
const CA_FILES_MAX: usize = 4096;

/// What to trust, whom to be, and whom to expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub ca_file: Option<PathBuf>,
    pub ca_path: Option<PathBuf>,
    /// Authorities given as PEM text, beside those of files.
    pub ca_pem: Option<String>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Expected instead of the dialled host.
    pub server_name: Option<String>,
    pub skip_verify: bool,
    /// Application protocols to offer, best first.
    pub alpn: Vec<Vec<u8>>,
}

/// Trust and identity for connections; cheap to clone, and clones share what was read.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    shared: Arc<Shared>,
    server_name: Option<String>,
}

/// Settings, and what reading them gave; read once.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    read: OnceLock<Result<Arc<rustls::ClientConfig>, SettingsError>>,
}

impl Shared {
    fn rustls(&self) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
        self.read.get_or_init(|| self.settings.read()).clone()
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("Error loading CA File: {0}")]
    CaFile(String),
    #[error("Error loading CA Path: {0}")]
    CaPath(String),
    #[error("Error appending CA: Couldn't parse PEM in: {0}")]
    CaPem(String),
    #[error("both client cert and client key must be provided")]
    HalfIdentity,
    #[error("{0}")]
    Identity(String),
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

impl Settings {
    /// Reads the files named and checks that they belong together.
    pub fn load(&self) -> Result<ClientConfig, SettingsError> {
        let config = self.when_needed();
        config.shared.rustls()?;
        Ok(config)
    }

    /// Reads nothing until the first handshake, which then fails if the settings are bad. The system's roots weigh a
    /// megabyte that most agents never need.
    pub fn when_needed(&self) -> ClientConfig {
        ClientConfig {
            server_name: self.server_name.clone().filter(|name| !name.is_empty()),
            shared: Arc::new(Shared { settings: self.clone(), read: OnceLock::new() }),
        }
    }

    fn read(&self) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.skip_verify {
            Arc::new(AnyCertificate { algorithms })
        } else {
            Arc::new(GoVerifier::new(self.roots()?, provider)?)
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (&self.cert_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let (chain, key) = read_identity(cert, key)?;
                builder.with_client_auth_cert(chain, key)?
            }
            _ => return Err(SettingsError::HalfIdentity),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
        let mut roots = Vec::new();
        if let Some(file) = &self.ca_file {
            let pem = read_bounded(file).map_err(|error| SettingsError::CaFile(open_error(file, &error)))?;
            let found = certificates(&pem);
            if found.is_empty() {
                return Err(SettingsError::CaPem(file.display().to_string()));
            }
            roots.extend(found);
        }
        if let Some(directory) = &self.ca_path {
            let fail = |error: &io::Error| SettingsError::CaPath(open_error(directory, error));
            let mut files = Vec::new();
            for entry in fs::read_dir(directory).map_err(|error| fail(&error))?.take(CA_FILES_MAX) {
                let path = entry.map_err(|error| fail(&error))?.path();
                if path.is_file() {
                    files.push(path);
                }
            }
            files.sort();
            for file in files {
                let pem = read_bounded(&file).map_err(|error| SettingsError::CaPath(open_error(&file, &error)))?;
                let found = certificates(&pem);
                if found.is_empty() {
                    return Err(SettingsError::CaPem(file.display().to_string()));
                }
                roots.extend(found);
            }
        }
        if let Some(pem) = &self.ca_pem {
            let found = certificates(pem.as_bytes());
            if found.is_empty() {
                return Err(SettingsError::CaPem("PEM".to_owned()));
            }
            roots.extend(found);
        }
        if self.ca_file.is_none() && self.ca_path.is_none() && self.ca_pem.is_none() {
            // What the system cannot read it does not trust; Go is silent about it too.
            roots = rustls_native_certs::load_native_certs().certs;
        }
        Ok(roots)
    }
}

fn open_error(path: &Path, error: &io::Error) -> String {
    format!("open {}: {}", path.display(), go_text::reason(error))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, PEM_BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    rustls_pemfile::certs(&mut &*pem).filter_map(Result::ok).collect()
}

fn read_identity(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SettingsError> {
    let open = |path: &Path| read_bounded(path).map_err(|error| SettingsError::Identity(open_error(path, &error)));
    let chain = certificates(&open(cert)?);
    if chain.is_empty() {
        return Err(SettingsError::Identity("tls: failed to find any PEM data in certificate input".to_owned()));
    }
    let key = rustls_pemfile::private_key(&mut &*open(key)?)
        .ok()
        .flatten()
        .ok_or_else(|| SettingsError::Identity("tls: failed to find any PEM data in key input".to_owned()))?;
    Ok((chain, key))
}

impl ClientConfig {
    /// The same trust and identity, expecting another name.
    pub fn with_server_name(&self, name: Option<String>) -> ClientConfig {
        ClientConfig { shared: Arc::clone(&self.shared), server_name: name.filter(|name| !name.is_empty()) }
    }

    /// Shakes hands over a fresh connection. `host` is the dialled one, without port or brackets.
    pub async fn connect(&self, stream: Stream, host: &str, timeout: Option<Duration>) -> Result<Stream, TlsError> {
        let expected = self.server_name.as_deref().unwrap_or(host);
        let Stream::Plain(socket) = stream else {
            return Err(TlsError::Io("tls: already encrypted".to_owned()));
        };
        let name = ServerName::try_from(expected.to_owned()).map_err(|_| TlsError::Name(expected.to_owned()))?;
        let handshake = async {
            let config = self.rustls().await.map_err(|error| TlsError::Io(error.to_string()))?;
            let connecting = TlsConnector::from(config).connect(name, socket);
            connecting
                .into_fallible()
                .await
                .map_err(|(error, socket)| TlsError::from_handshake(&error, socket.first_bytes(), expected))
        };
        let shaken = match timeout {
            Some(limit) => tokio::time::timeout(limit, handshake).await.map_err(|_| TlsError::Timeout)?,
            None => handshake.await,
        };
        Ok(Stream::Tls(Box::new(shaken?)))
    }

    async fn rustls(&self) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
        if let Some(read) = self.shared.read.get() {
            return read.clone();
        }
        // Files are read away from the threads that drive connections.
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.rustls())
            .await
            .unwrap_or_else(|error| Err(SettingsError::Identity(error.to_string())))
    }
}

/// Why a handshake failed; displays as Go words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The peer speaks something else; kept apart because HTTP words it differently.
    NotTls {
        http: bool,
    },
    Verification(String),
    /// The peer refused and told why.
    Alert(String),
    Closed,
    Timeout,
    Name(String),
    Io(String),
}

impl TlsError {
    fn from_handshake(error: &io::Error, first: &[u8], expected: &str) -> TlsError {
        if let Some(inner) = rustls_error(error) {
            return TlsError::from_rustls(inner, first, expected);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return TlsError::Closed;
        }
        TlsError::Io(error.to_string())
    }

    fn from_rustls(error: &rustls::Error, first: &[u8], expected: &str) -> TlsError {
        match error {
            rustls::Error::InvalidMessage(_) => TlsError::NotTls { http: first.starts_with(b"HTTP/") },
            rustls::Error::InvalidCertificate(reason) => TlsError::Verification(x509_text(reason, expected)),
            rustls::Error::AlertReceived(alert) => TlsError::Alert(alert_text(*alert)),
            other => TlsError::Io(format!("tls: {other}")),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::NotTls { .. } => f.write_str("tls: first record does not look like a TLS handshake"),
            TlsError::Verification(reason) => {
                write!(f, "tls: failed to verify certificate: {reason}")
            }
            TlsError::Alert(reason) => write!(f, "remote error: tls: {reason}"),
            TlsError::Closed => f.write_str("EOF"),
            TlsError::Timeout => f.write_str("context deadline exceeded"),
            TlsError::Name(name) => write!(f, "tls: invalid server name {}", go_text::quote(name)),
            TlsError::Io(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for TlsError {}

/// An error that arrived on an established connection, in Go's words: a server may refuse our certificate only after
/// its side of the handshake.
pub fn io_error_text(error: &io::Error) -> String {
    match rustls_error(error) {
        Some(inner) => TlsError::from_rustls(inner, &[], "").to_string(),
        None => error.to_string(),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

fn x509_text(reason: &CertificateError, expected: &str) -> String {
    match reason {
        CertificateError::UnknownIssuer => "x509: certificate signed by unknown authority".to_owned(),
        CertificateError::Expired => "x509: certificate has expired or is not yet valid".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "x509: certificate has expired or is not yet valid: current time {} is after {}",
            rfc3339(*time),
            rfc3339(*not_after)
        ),
        CertificateError::NotValidYet => "x509: certificate has expired or is not yet valid".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "x509: certificate has expired or is not yet valid: current time {} is before {}",
            rfc3339(*time),
            rfc3339(*not_before)
        ),
        CertificateError::NotValidForName => {
            format!("x509: certificate is not valid for any names, but wanted to match {expected}")
        }
        CertificateError::NotValidForNameContext { presented, .. } => name_mismatch_text(presented, expected),
        CertificateError::BadEncoding => "x509: malformed certificate".to_owned(),
        CertificateError::BadSignature => "x509: certificate signed by unknown authority".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::Revoked => "x509: certificate is revoked".to_owned(),
        other => format!("x509: {other:?}"),
    }
}

/// `presented` holds entries such as `DnsName("a.example")` and `IpAddress(127.0.0.1)`, the verifier's debug form.
fn name_mismatch_text(presented: &[String], expected: &str) -> String {
    let inside = |entry: &String, kind: &str| {
        let rest = entry.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')')?;
        Some(rest.trim_matches('"').to_owned())
    };
    let (names, nothing) = if expected.parse::<std::net::IpAddr>().is_ok() {
        let ips: Vec<String> = presented.iter().filter_map(|entry| inside(entry, "IpAddress")).collect();
        let nothing =
            format!("x509: cannot validate certificate for {expected} because it doesn't contain any IP SANs");
        (ips, nothing)
    } else {
        let names: Vec<String> = presented.iter().filter_map(|entry| inside(entry, "DnsName")).collect();
        let nothing = format!("x509: certificate is not valid for any names, but wanted to match {expected}");
        (names, nothing)
    };
    if names.is_empty() {
        nothing
    } else {
        format!("x509: certificate is valid for {}, not {expected}", names.join(", "))
    }
}

/// Seconds since 1970 as `2006-01-02T15:04:05Z`.
fn rfc3339(time: UnixTime) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from a day count: years that start in March put the leap day last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::NoRenegotiation => "no renegotiation",
        AlertDescription::MissingExtension => "missing extension",
        AlertDescription::UnsupportedExtension => "unsupported extension",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    text.to_owned()
}

/// Verifies as usual, with one allowance of Go's: a certificate that is itself among the roots is trusted, even if it
/// is marked as an authority.
#[derive(Debug)]
struct GoVerifier {
    /// Absent when there is no root at all: then nothing can be trusted.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    roots: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl GoVerifier {
    fn new(roots: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<GoVerifier, SettingsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let algorithms = provider.signature_verification_algorithms;
        let webpki = if store.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(|error| SettingsError::Identity(error.to_string()))?;
            Some(built)
        };
        Ok(GoVerifier { webpki, roots, algorithms })
    }
}

impl ServerCertVerifier for GoVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verdict = match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(unknown()),
        };
        // A chain of one that is marked as an authority is refused before its name is looked at. Go looks at the
        // name first, then at the chain, and accepts a certificate that is itself a root.
        if !matches!(
            &verdict,
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
        ) {
            return verdict;
        }
        let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_name(&parsed, server_name)?;
        if self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) => Err(unknown()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes any certificate, but still demands proof that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
