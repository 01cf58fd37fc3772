//! RSA's private operation in plain arithmetic, for one purpose: signatures with SHA-1.
//!
//! Owns Montgomery multiplication and the Chinese remainder step. Older Apple systems sign
//! `Mdm-Signature` with SHA-1, and the crypto library (rightly) signs with nothing weaker than
//! SHA-256. Never used for keys that protect anything: the code is not constant in time, and
//! the keys are those of simulated devices. Source: RFC 8017, sections 5.2.1 and 3.2.

/// The two-prime form of an RSA private key, as little-endian limbs.
pub(crate) struct CrtKey {
    p: Modulus,
    q: Modulus,
    exponent_p: Vec<u64>,
    exponent_q: Vec<u64>,
    inverse_q: Vec<u64>,
    size_bytes: usize,
}

impl CrtKey {
    /// From the big-endian integers of a PKCS#1 private key; `None` when a prime is even or
    /// empty.
    pub(crate) fn new(
        size_bytes: usize,
        p: &[u8],
        q: &[u8],
        exponent_p: &[u8],
        exponent_q: &[u8],
        inverse_q: &[u8],
    ) -> Option<Self> {
        Some(Self {
            p: Modulus::new(limbs(p))?,
            q: Modulus::new(limbs(q))?,
            exponent_p: limbs(exponent_p),
            exponent_q: limbs(exponent_q),
            inverse_q: limbs(inverse_q),
            size_bytes,
        })
    }

    /// `message ^ d mod n`, big-endian, as long as the modulus.
    pub(crate) fn private(&self, message: &[u8]) -> Vec<u8> {
        let message = limbs(message);
        let m1 = self.p.pow(&self.p.reduce(&message), &self.exponent_p);
        let m2 = self.q.pow(&self.q.reduce(&message), &self.exponent_q);
        let difference = self.p.subtract(&m1, &self.p.reduce(&m2));
        let h = self.p.product(&self.p.reduce(&self.inverse_q), &difference);
        let mut result = multiply(&h, &self.q.n);
        add_into(&mut result, &m2);
        let mut bytes: Vec<u8> = result.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.resize(self.size_bytes, 0);
        bytes.reverse();
        bytes
    }
}

/// An odd modulus with what Montgomery multiplication needs.
struct Modulus {
    n: Vec<u64>,
    /// `-n^-1 mod 2^64`
    n0: u64,
    /// `2^(128 k) mod n` for k limbs
    r2: Vec<u64>,
}

impl Modulus {
    fn new(n: Vec<u64>) -> Option<Self> {
        let low = *n.first()?;
        if low & 1 == 0 {
            return None;
        }
        let mut inverse = 1_u64;
        for _ in 0..6 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(low.wrapping_mul(inverse)));
        }
        let mut modulus = Self {
            n0: inverse.wrapping_neg(),
            r2: Vec::new(),
            n,
        };
        let mut power = vec![0_u64; modulus.n.len().saturating_mul(2).saturating_add(1)];
        if let Some(top) = power.last_mut() {
            *top = 1;
        }
        modulus.r2 = modulus.reduce(&power);
        Some(modulus)
    }

    /// `value mod n`, bit by bit: rare and short enough.
    fn reduce(&self, value: &[u64]) -> Vec<u64> {
        let mut rest = vec![0_u64; self.n.len()];
        for limb in value.iter().rev() {
            for bit in (0..64).rev() {
                let mut carry = limb >> bit & 1;
                for digit in &mut rest {
                    let next = *digit >> 63;
                    *digit = *digit << 1 | carry;
                    carry = next;
                }
                if carry == 1 || !less(&rest, &self.n) {
                    subtract_from(&mut rest, &self.n);
                }
            }
        }
        rest
    }

    /// `a - b mod n` for reduced values.
    fn subtract(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut result = a.to_vec();
        if subtract_from(&mut result, b) {
            add_into(&mut result, &self.n);
        }
        result
    }

    /// `a * b mod n` for reduced values.
    fn product(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        self.montgomery(&self.montgomery(a, &self.r2), b)
    }

    /// `base ^ exponent mod n`, with windows of four bits.
    fn pow(&self, base: &[u64], exponent: &[u64]) -> Vec<u64> {
        let mut one = vec![0_u64; self.n.len()];
        if let Some(low) = one.first_mut() {
            *low = 1;
        }
        let base = self.montgomery(base, &self.r2);
        let mut table = vec![self.montgomery(&one, &self.r2)];
        for power in 1..16 {
            let before = table.get(power - 1).unwrap_or(&base).clone();
            table.push(self.montgomery(&before, &base));
        }
        let mut result = table.first().unwrap_or(&base).clone();
        for limb in exponent.iter().rev() {
            for window in (0..16).rev() {
                for _ in 0..4 {
                    result = self.montgomery(&result, &result);
                }
                let index = usize::try_from(limb >> (window * 4) & 15).unwrap_or(0);
                if let Some(power) = table.get(index) {
                    result = self.montgomery(&result, power);
                }
            }
        }
        self.montgomery(&result, &one)
    }

    /// `a * b / 2^(64 k) mod n`
    fn montgomery(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut sum = vec![0_u64; self.n.len()];
        let mut over = 0_u64;
        for digit in b {
            let (low, high) = multiply_add(&mut sum, a, *digit);
            let (top, spill) = over.overflowing_add(high);
            let factor = low.wrapping_mul(self.n0);
            let (_, high) = multiply_add(&mut sum, &self.n, factor);
            let (top, spill_too) = top.overflowing_add(high);
            // The lowest limb is zero now: shift down by one limb.
            sum.rotate_left(1);
            if let Some(last) = sum.last_mut() {
                *last = top;
            }
            over = u64::from(spill) + u64::from(spill_too);
        }
        if over > 0 || !less(&sum, &self.n) {
            subtract_from(&mut sum, &self.n);
        }
        sum
    }
}

/// `sum += a * digit`; gives the new lowest limb and the carry out.
fn multiply_add(sum: &mut [u64], a: &[u64], digit: u64) -> (u64, u64) {
    let mut carry = 0_u128;
    for (to, from) in sum.iter_mut().zip(a) {
        let wide = u128::from(*from) * u128::from(digit) + u128::from(*to) + carry;
        *to = truncate(wide);
        carry = wide >> 64;
    }
    (sum.first().copied().unwrap_or(0), truncate(carry))
}

fn multiply(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut out = vec![0_u64; a.len().saturating_add(b.len())];
    for (shift, digit) in b.iter().enumerate() {
        let Some(window) = out.get_mut(shift..) else {
            break;
        };
        let (_, carry) = multiply_add(window, a, *digit);
        if let Some(next) = window.get_mut(a.len()) {
            *next = carry;
        }
    }
    out
}

fn add_into(to: &mut [u64], from: &[u64]) {
    let mut carry = 0_u128;
    let from = from.iter().copied().chain(std::iter::repeat(0));
    for (digit, other) in to.iter_mut().zip(from) {
        let wide = u128::from(*digit) + u128::from(other) + carry;
        *digit = truncate(wide);
        carry = wide >> 64;
    }
}

/// Subtracts; true when the result went below zero and wrapped.
fn subtract_from(to: &mut [u64], from: &[u64]) -> bool {
    let mut borrow = false;
    for (digit, other) in to.iter_mut().zip(from) {
        let (value, first) = digit.overflowing_sub(*other);
        let (value, second) = value.overflowing_sub(u64::from(borrow));
        *digit = value;
        borrow = first || second;
    }
    borrow
}

fn less(a: &[u64], b: &[u64]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn limbs(big_endian: &[u8]) -> Vec<u64> {
    let first = big_endian.iter().position(|b| *b != 0);
    let tail = first
        .and_then(|at| big_endian.get(at..))
        .unwrap_or_default();
    tail.rchunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |limb, byte| limb << 8 | u64::from(*byte))
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half of a double limb is what is wanted"
)]
const fn truncate(wide: u128) -> u64 {
    wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_powers_come_out_right() {
        let modulus = Modulus::new(vec![1_000_000_007]).unwrap();
        assert_eq!(modulus.pow(&[2], &[100]), [976_371_285]);
        assert_eq!(modulus.product(&[999_999_999], &[123]), [999_999_023]);
        assert!(Modulus::new(vec![10]).is_none());
    }

    #[test]
    fn the_remainder_step_agrees_with_textbook_rsa() {
        // p = 61, q = 53, e = 17, d = 413 (mod 780): 65^413 mod 3233 = 588
        let key = CrtKey::new(2, &[61], &[53], &[53], &[49], &[38]).unwrap();
        assert_eq!(key.private(&[65]), [2, 76]);
    }
}
