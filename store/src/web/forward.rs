//! Plain HTTP through a forwarding proxy.
//!
//! Such a proxy wants the whole URL in the request line, which the HTTP library
//! cannot write: its request lines have a path. So the URL is asked for as a
//! path with a mark before it, `PUT /MARKhttp://host/file`, and the connection
//! takes the mark out again. Nobody can guess the mark, so no body has it.

use std::hash::{BuildHasher, RandomState};

use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

/// How far into a request its path may begin: after the longest method.
const MARK_WITHIN: usize = 16;

/// An agent for forwarding proxies, and for nothing else.
#[derive(Clone, Debug)]
pub(super) struct Forwarding {
    agent: ureq::Agent,
    mark: String,
}

impl Forwarding {
    pub(super) fn new(config: Config) -> Self {
        let random = RandomState::new();
        let mark = format!("/{:016x}{:016x}/", random.hash_one(0), random.hash_one(1));
        let connector = ().chain(TcpConnector::default()).chain(ForwardConnector(mark.clone()));
        Self {
            agent: ureq::Agent::with_parts(config, connector, DefaultResolver::default()),
            mark,
        }
    }

    pub(super) fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// The path to ask for instead of a whole URL.
    pub(super) fn path_of(&self, url: &str) -> String {
        format!("{}{url}", self.mark)
    }
}

#[derive(Debug)]
struct ForwardConnector(String);

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Forward<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|transport| Forward {
            transport,
            mark: self.0.clone(),
        }))
    }
}

#[derive(Debug)]
struct Forward<T> {
    transport: T,
    mark: String,
}

/// Where the mark begins in what is about to be sent.
fn find(output: &[u8], mark: &str) -> Option<usize> {
    let head = &output[..output.len().min(MARK_WITHIN + mark.len())];
    head.windows(mark.len())
        .position(|part| part == mark.as_bytes())
}

impl<T: Transport> Transport for Forward<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.transport.buffers().output();
        let Some(at) = find(&output[..amount], &self.mark) else {
            return self.transport.transmit_output(amount, timeout);
        };
        let removed = self.mark.len();
        output.copy_within(at + removed..amount, at);
        self.transport.transmit_output(amount - removed, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }
}
