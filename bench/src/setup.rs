//! What all measurements start from: the programs, the upstream, and the call that is made.

use std::{
    cell::Cell,
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    rc::Rc,
};

use prost::Message as _;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::spawn_local};

use crate::{
    Fallible,
    contract::{self, Contract},
    expected::Expected,
    load::Call,
    server::Site,
    upstream::{self, Answer, Answered},
};

/// Where the programs are.
#[derive(clap::Args)]
pub struct Programs {
    /// The façade, as it ships.
    #[arg(long, default_value = "target/dist/totp-facade")]
    facade: PathBuf,
    /// Envoy.
    #[arg(long, default_value = "target/ci-tools/bin/envoy")]
    envoy: PathBuf,
    /// The repository.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
}

/// The response to a Create, 7.7 KB with its QR code.
const ANSWER: &[u8] = include_bytes!("../answers/create.json");
const REQUEST: &[u8] = br#"{"organization_id": "example-works", "member_id": "fresh"}"#;

/// A running upstream, and what it takes to start servers in front of it.
pub struct Setup {
    pub contract: Contract,
    pub site: Site,
    pub answered: Answered,
    _folder: TempDir,
}

impl Setup {
    /// Starts the upstream on the current thread.
    pub async fn start(programs: &Programs) -> Fallible<Self> {
        let profile = programs.facade.parent().and_then(|it| it.file_name());
        if profile.is_none_or(|it| it == "debug") {
            return Err("the façade is built for debugging; build it with `just dist`".into());
        }
        let contract = Contract::compile(&programs.root)?;
        let folder = tempfile::tempdir()?;
        let answer = contract.read_json("stytch.b2b.totp.v1.CreateResponse", ANSWER)?;
        std::fs::write(folder.path().join("create.bin"), answer.encode_to_vec())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let site = Site {
            facade: programs.facade.canonicalize()?,
            envoy: programs.envoy.clone(),
            folder: folder.path().to_owned(),
            upstream: listener.local_addr()?,
        };
        let answered = Rc::new(Cell::new(0));
        let answer = Answer {
            path: contract::CREATE_PATH,
            content_type: "application/json",
            body: ANSWER.trim_ascii_end(),
        };
        spawn_local(upstream::serve(listener, answer, answered.clone()));
        Ok(Self { contract, site, answered, _folder: folder })
    }

    /// Returns the Create that is measured, without metadata.
    pub fn create(&self) -> Fallible<Call> {
        let request = self.contract.read_json("stytch.b2b.totp.v1.CreateRequest", REQUEST)?;
        let answer = self.contract.read_json("stytch.b2b.totp.v1.CreateResponse", ANSWER)?;
        Ok(Call {
            path: contract::CREATE,
            framed: contract::framed(&request.encode_to_vec()),
            metadata: Vec::new(),
            keyed: false,
            expected: Expected::new(&answer),
        })
    }

    /// Counts the events of the façade's audit trail.
    pub fn audit_events(&self) -> Fallible<u64> {
        let log = File::open(self.site.log("facade"))?;
        let mut events = 0;
        for line in BufReader::new(log).split(b'\n') {
            events += u64::from(memchr::memmem::find(&line?, br#""target":"audit""#).is_some());
        }
        Ok(events)
    }
}
