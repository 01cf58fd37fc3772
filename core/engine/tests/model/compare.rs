//! What is stored, beside what the model says.
//!
//! Owns: the queries for enrollments, certificates, queues, events and rings, each as text that is compared whole.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::step::Verb;
use crate::system::System;
use crate::world::{CardState, Phase, Place, World};

impl System {
    fn place_of(&self, id: &str) -> usize {
        let id = Uuid::parse_str(id).unwrap();
        self.enrollments
            .iter()
            .position(|known| known.0 == id)
            .unwrap_or_else(|| panic!("an enrollment that the model does not know: {id}"))
    }

    /// Rows that begin with an enrollment's id, which is replaced by its place in the model, sorted by that.
    fn read(&self, sql: &str) -> Vec<String> {
        let mut rows: Vec<(usize, String)> = self
            .site
            .texts(sql)
            .iter()
            .map(|row| {
                let (id, rest) = row.split_once(' ').unwrap();
                (self.place_of(id), rest.to_owned())
            })
            .collect();
        rows.sort_by_key(|row| row.0);
        rows.into_iter()
            .map(|(place, rest)| format!("{place} {rest}"))
            .collect()
    }

    pub(crate) fn compare(&self, world: &World) {
        self.compare_enrollments(world);
        self.compare_queues(world);
        self.compare_events(world);
        self.compare_rings(world);
    }

    fn compare_enrollments(&self, world: &World) {
        let tenants = self.both();
        let flag =
            |column: &str| format!("CAST(CASE WHEN {column} IS NULL THEN 0 ELSE 1 END AS text)");
        let found = self.read(&format!(
            "SELECT {} || ' ' || CAST(state AS text) || ' ' || {} || ' ' || {} FROM enrollment WHERE tenant_id IN {tenants}",
            self.site.hex("id"),
            self.site.bytes("push_token_hash"),
            flag("bootstrap_token_sealed"),
        ));
        // The hash of a token is whatever it is, but one for one token of a tenant.
        let mut known: BTreeMap<(usize, usize), String> = BTreeMap::new();
        let mut hashes = |id: usize, token: usize| {
            let tenant = world.devices[world.enrollments[id].device].tenant;
            let stored = found[id].split(' ').nth(2).unwrap_or_default();
            let hash = known
                .entry((tenant, token))
                .or_insert(stored.to_owned())
                .clone();
            let used = known.iter().filter(|(_, other)| **other == hash).count();
            assert_eq!(used, 1, "two tokens, one hash: an older token came back");
            hash
        };
        let expected: Vec<String> = world
            .enrollments
            .iter()
            .enumerate()
            .map(|(id, e)| {
                let (state, over) = match e.phase {
                    Phase::Pending => (0, false),
                    Phase::Held => (1, false),
                    Phase::Live => (2, false),
                    Phase::Over => (3, true),
                };
                let token = e.tokens.last().filter(|_| !over);
                let token = token.map_or("-".to_owned(), |token| hashes(id, *token));
                format!("{id} {state} {token} {}", u8::from(e.bootstrap.is_some()))
            })
            .collect();
        assert_eq!(
            found, expected,
            "enrollments: state, tokens, bootstrap token"
        );
        let found: BTreeMap<String, String> = self
            .site
            .texts(&format!("SELECT {} || ' ' || CAST(state AS text) FROM certificate WHERE tenant_id IN {tenants}", self.site.hex("id")))
            .iter()
            .map(|row| row.split_once(' ').map(|(id, state)| (id.to_owned(), state.to_owned())).unwrap())
            .collect();
        for (place, card) in world.cards.iter().enumerate() {
            let state = match card.state {
                CardState::Fresh => "0",
                CardState::Waiting => "1",
                CardState::Good => "2",
                CardState::Replaced => "3",
                CardState::Dead => "4",
            };
            assert_eq!(
                found[&self.cards[place].id.simple().to_string()],
                state,
                "certificate {place}"
            );
        }
    }

    fn compare_queues(&self, world: &World) {
        let tenants = self.both();
        let open = self.read(&format!(
            "SELECT {} || ' ' || d.command_uuid || ' ' || CAST(d.state AS text) || CASE WHEN d.sends > 0 THEN ' sent' ELSE '' END
                || CASE WHEN c.sent_seq = d.seq THEN ' outstanding' ELSE '' END
             FROM delivery d JOIN channel c ON c.enrollment_id = d.enrollment_id WHERE d.tenant_id IN {tenants} ORDER BY d.seq",
            self.site.hex("d.enrollment_id")
        ));
        let left = self.read(&format!(
            "SELECT {} || ' ' || command_uuid || ' ' || CAST(disposition AS text) || ' ' || CAST(outcome AS text)
                || CASE WHEN sends > 0 THEN ' sent' ELSE '' END
             FROM delivery_history WHERE tenant_id IN {tenants} ORDER BY seq",
            self.site.hex("enrollment_id")
        ));
        let (mut expected_open, mut expected_left) = (Vec::new(), Vec::new());
        for (id, entry) in world
            .enrollments
            .iter()
            .enumerate()
            .flat_map(|(id, e)| e.entries.iter().map(move |entry| (id, entry)))
        {
            let uuid = self.uuid(entry.name);
            let sent = if entry.sendings > 0 { " sent" } else { "" };
            let outcome = match entry.outcome.map(|(verb, _)| verb) {
                None | Some(Verb::Idle | Verb::NotNow) => 0,
                Some(Verb::Acknowledged) => 1,
                Some(Verb::Error) => 2,
                Some(Verb::FormatError) => 3,
            };
            match entry.place {
                Place::Queued => expected_open.push(format!("{id} {uuid} 0{sent}")),
                Place::Sent => expected_open.push(format!("{id} {uuid} 1{sent} outstanding")),
                Place::NotNow(_) => expected_open.push(format!("{id} {uuid} 2{sent}")),
                Place::Done => expected_left.push(format!("{id} {uuid} 3 {outcome}{sent}")),
                Place::Cancelled => expected_left.push(format!("{id} {uuid} 4 {outcome}{sent}")),
                Place::Withdrawn => expected_left.push(format!("{id} {uuid} 5 {outcome}{sent}")),
                Place::Expired => expected_left.push(format!("{id} {uuid} 6 {outcome}{sent}")),
            }
        }
        assert_eq!(
            open, expected_open,
            "open queue: place, state, ever sent, outstanding"
        );
        assert_eq!(
            left, expected_left,
            "what has left: disposition, outcome, ever sent"
        );
    }

    fn compare_events(&self, world: &World) {
        let tenants = self.both();
        let gaps = self.site.number(&format!(
            "SELECT count(*) FROM device_head h WHERE h.tenant_id IN {tenants} AND
               (h.event_seq <> (SELECT count(*) FROM event e WHERE e.device_id = h.device_id)
                OR h.event_seq <> (SELECT coalesce(max(e.seq), 0) FROM event e WHERE e.device_id = h.device_id))"
        ));
        assert_eq!(gaps, 0, "events are numbered without gaps");
        let count = |kind: &str| {
            self.site.number(&format!(
                "SELECT count(*) FROM event WHERE tenant_id IN {tenants} AND kind = '{kind}'"
            ))
        };
        let entries = || world.enrollments.iter().flat_map(|e| &e.entries);
        assert_eq!(count("command_queued"), entries().count() as i64);
        assert_eq!(
            count("command_outcome"),
            entries().filter(|entry| entry.outcome.is_some()).count() as i64
        );
        assert_eq!(
            count("command_expired"),
            entries()
                .filter(|entry| entry.place == Place::Expired)
                .count() as i64
        );
        if !world.interrupted {
            assert_eq!(
                count("report_conflict"),
                world.enrollments.iter().map(|e| e.conflicts).sum::<i64>()
            );
        }
    }

    /// Q7, Q14: while something waits for which the device is to be rung, or was put off by it, it will be rung.
    fn compare_rings(&self, world: &World) {
        let due = self.read(&format!(
            "SELECT {} || ' due' FROM push_state WHERE tenant_id IN {} AND due_at IS NOT NULL",
            self.site.hex("enrollment_id"),
            self.both()
        ));
        for (id, e) in world
            .enrollments
            .iter()
            .enumerate()
            .filter(|(_, e)| e.phase == Phase::Live)
        {
            let waits = e.entries.iter().any(|entry| {
                entry.place.open() && (entry.rings || matches!(entry.place, Place::NotNow(_)))
            });
            assert!(
                !waits || due.contains(&format!("{id} due")),
                "enrollment {id} will be rung: {e:?}"
            );
        }
    }
}
