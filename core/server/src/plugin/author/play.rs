//! Asking the question of a fixture.
//!
//! Owns: what an answer, or the lack of one, is in the words of an author. Judges nothing.

use anyhow::bail;
use pomona_plugin_host::{Answer, Called, Fixture, HostCall, Plugin, QuestionError};
use serde_json::{Value, json};

/// What came of asking a fixture's question.
pub(super) struct Played {
    pub(super) called: Called,
    /// The calls of the host that were made.
    pub(super) made: Vec<HostCall>,
    /// Those of them that the fixture does not answer.
    pub(super) unanswered: Vec<HostCall>,
}

/// Asks on an instance of its own, `times` times one after the other; gives what came of the last.
pub(super) async fn play(
    plugin: &Plugin,
    fixture: &Fixture,
    times: usize,
) -> Result<Played, QuestionError> {
    let (questions, mut hosts): (Vec<_>, Vec<_>) =
        (0..times.max(1)).map(|_| fixture.question()).unzip();
    let mut called = plugin.call_json(&questions).await?;
    let nothing = || QuestionError::Unknown("the question was not asked".into());
    let called = called.pop().ok_or_else(nothing)?;
    let host = hosts.pop().ok_or_else(nothing)?;
    Ok(Played {
        called,
        made: host.made(),
        unanswered: host.unanswered(),
    })
}

/// Why a call gave no answer, with the place in the code where it is known.
pub(super) fn failure(called: &Called) -> Option<String> {
    let error = called.outcome.as_ref().err()?;
    let mut told = error.to_string();
    for place in called.trace.iter().take(5) {
        told.push_str("\n    in ");
        told.push_str(place);
    }
    Some(told)
}

/// What can be compared of an outcome, byte by byte.
pub(super) fn exact(called: &Called) -> Value {
    match &called.outcome {
        Ok(answer) => answer.exact.clone(),
        Err(error) => json!({ "no answer": error.to_string() }),
    }
}

/// The answer, or why there is none.
pub(super) fn answered(called: &Called) -> anyhow::Result<&Answer> {
    match &called.outcome {
        Ok(answer) => Ok(answer),
        Err(_) => bail!("{}", failure(called).unwrap_or_default()),
    }
}
