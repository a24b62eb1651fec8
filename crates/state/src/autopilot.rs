//! Wall of autopilot.

use acl::Authorizer;
use serde::{Deserialize, Serialize};

use crate::{Apply, Error, Outcome, State};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AutopilotSetConfigRequest {
    pub datacenter: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {}

impl AutopilotSetConfigRequest {
    pub(crate) fn prepare(&mut self, _state: &State) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn authorize(&self, _state: &State, _may: &dyn Authorizer) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) fn apply(_state: &mut State, _apply: &mut Apply, _request: AutopilotSetConfigRequest) -> Outcome {
    Outcome::Failed(Error::failed("wall"))
}
