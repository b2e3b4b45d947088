//! The users that the callers on a Unix domain socket run as. The system vouches for them.

use super::{
    credential::{Credential, Identities, Presented},
    proxies::Sender,
    refusal::Refusal,
};
use crate::{connection::PeerAddr, identity::Identity};

/// Identifies callers by the users that they run as.
#[derive(Debug)]
pub(super) struct Users;

impl Credential for Users {
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal> {
        match (presented.sender, presented.peer.addr) {
            (Sender::Caller, Some(PeerAddr::Unix { uid, .. })) => {
                Ok(Identity::user(uid).map(|user| Identities::from([user])))
            }
            // A proxy's user identifies none of the callers behind it.
            _ => Ok(None),
        }
    }
}
