//! Seeded chance: the same seed gives the same fleet, the same identifiers, the same mischief.
//!
//! Owns one small generator (splitmix64). Never used for keys, nonces or anything that must not
//! be guessed: those come from aws-lc-rs.

/// A seeded pseudo-random source.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// A source that repeats itself for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A source of its own for part `index` of a whole with this seed.
    #[must_use]
    pub fn part(seed: u64, index: u64) -> Self {
        let mut dice = Self::new(seed ^ index.wrapping_mul(0xa076_1d64_78bd_642f));
        // One throw away, so that neighbouring parts share no first value.
        let state = dice.number();
        Self::new(state)
    }

    /// 64 bits.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            _ => self.number() % bound,
        }
    }

    /// True with probability `rate` (0.0 never, 1.0 always).
    pub fn chance(&mut self, rate: f64) -> bool {
        // 53 bits fit a double exactly.
        #[expect(
            clippy::cast_precision_loss,
            reason = "only the upper 53 bits are used, which a double holds exactly"
        )]
        let unit = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < rate
    }

    /// One of the choices; `None` when there is none.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let bound = u64::try_from(choices.len()).unwrap_or(u64::MAX);
        choices.get(usize::try_from(self.below(bound)).unwrap_or(0))
    }

    /// Bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0_u8; N];
        for chunk in out.chunks_mut(8) {
            let word = self.number().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
        out
    }

    /// Text of `len` characters out of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len)
            .filter_map(|_| self.choose(alphabet).copied().map(char::from))
            .collect()
    }

    /// A UUID in upper case with the version and variant bits of a random one.
    pub fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.bytes())
            .into_uuid()
            .to_string()
            .to_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_values() {
        let mut one = Dice::new(7);
        let mut two = Dice::new(7);
        assert_eq!(one.uuid(), two.uuid());
        assert_ne!(Dice::part(7, 1).number(), Dice::part(7, 2).number());
    }

    #[test]
    fn chance_keeps_to_its_rate() {
        let mut dice = Dice::new(42);
        let hits = (0..100_000).filter(|_| dice.chance(0.05)).count();
        assert!((4_500..5_500).contains(&hits), "{hits} of 100000");
        assert!(!(0..1_000).any(|_| dice.chance(0.0)));
        assert!((0..1_000).all(|_| dice.chance(1.0)));
    }
}
