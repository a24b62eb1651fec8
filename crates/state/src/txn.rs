//! Wall of txn.

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{Apply, Error, Outcome, State};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TxnRequest {
    pub datacenter: String,
}

impl TxnRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn apply(_state: &mut State, _apply: &mut Apply, _request: TxnRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}

/// What a transaction came to (`structs.TxnResponse`).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TxnResponse {}

impl TxnRequest {
    pub(crate) fn locks(&self) -> Vec<&str> {
        Vec::new()
    }
}
