//! Wall of prepared_query.

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{Apply, Error, Outcome, State};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreparedQueryRequest {
    pub datacenter: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {}

impl PreparedQueryRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn apply(_state: &mut State, _apply: &mut Apply, _request: PreparedQueryRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}
