//! Plain HTTP through a forwarding proxy.
//!
//! Such a proxy wants the whole URL in the request line, which the HTTP library
//! cannot write: its request lines begin with `/`. So the URL is asked for as a
//! path, `GET /http://host/file`, and the connection takes the `/` out again.

use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

const WRITTEN: &[u8] = b"GET /http://";
/// Where the `/` is that has to go.
const SLASH_AT: usize = 4;

/// An agent for forwarding proxies, and for nothing else.
pub(super) fn agent(config: Config) -> ureq::Agent {
    let connector = ().chain(TcpConnector::default()).chain(ForwardConnector);
    ureq::Agent::with_parts(config, connector, DefaultResolver::default())
}

#[derive(Debug)]
struct ForwardConnector;

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Forward<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(Forward))
    }
}

#[derive(Debug)]
struct Forward<T>(T);

impl<T: Transport> Transport for Forward<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.0.buffers().output();
        let is_request = output[..amount].starts_with(WRITTEN);
        if is_request {
            output.copy_within(SLASH_AT + 1..amount, SLASH_AT);
        }
        self.0
            .transmit_output(amount - usize::from(is_request), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }
}
