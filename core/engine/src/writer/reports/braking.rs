//! The brake in the walk through a group of reports.
//!
//! Owns: when it is asked, and that what leaves is counted at once. The rule is `queue::brake`'s, the counting `store::brake`'s.

use super::Line;
use crate::clock::Micros;
use crate::error::Result;
use crate::queue::brake::{Braking, braked};
use crate::store::brake;
use crate::store::sql::Tx;

impl Line<'_> {
    /// Until when destructive commands wait, if one of them is about to go for the first time.
    pub(super) async fn braked(&self, tx: &mut Tx, now: Micros) -> Result<Option<Micros>> {
        let destructive = self.candidates.iter().any(|one| braked(&one.open));
        match &self.found.channel {
            Some(channel) if destructive => brake::until(tx, now, channel.tenant).await,
            _ => Ok(None),
        }
    }

    /// Counts what has just been chosen, if it is destructive and goes for the first time: at once, so that the next one of this group is counted
    /// against it.
    pub(super) async fn count_leaving(&self, tx: &mut Tx, now: Micros) -> Result<()> {
        let leaves = self.send.as_ref().map(|sent| &sent.open);
        let leaves = leaves.filter(|open| open.braking != Braking::No && open.sends == 1);
        match (leaves, &self.found.channel) {
            (Some(open), Some(channel)) => {
                brake::leaves(tx, now, channel.tenant, channel.enrollment, open.seq).await
            }
            _ => Ok(()),
        }
    }
}
