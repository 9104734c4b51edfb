//! The random generator of the contract: ChaCha8, specified here so that it never changes under a stored result.
//!
//! The stream is the keystream of ChaCha with 8 rounds (RFC 8439's block function with 4 double rounds instead of
//! 10), key = the 32-byte seed, 64-bit block counter from 0 in words 12 and 13, 64-bit nonce in words 14 and 15, all
//! little-endian. The nonce of the plain stream is 0; a named stream's nonce is the 64-bit FNV-1a hash of its name.
//! Every drawing method below is defined by how many words it takes, so other languages can follow it.

/// A seeded generator with the same stream on every platform, compiler and version.
///
/// Not for secrets. Cloning copies the position: both continue with the same numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u32; 16],
    block: [u32; 16],
    used: usize,
}

/// "expand 32-byte k", the ChaCha constant.
const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

impl Rng {
    /// The plain stream of a seed.
    pub fn from_seed(seed: [u8; 32]) -> Rng {
        Rng::with_nonce(seed, 0)
    }

    /// The named stream of a seed: independent of every other name's.
    pub fn for_stream(seed: [u8; 32], stream: &str) -> Rng {
        Rng::with_nonce(seed, fnv1a(stream.as_bytes()))
    }

    fn with_nonce(seed: [u8; 32], nonce: u64) -> Rng {
        let mut state = [0; 16];
        state[..4].copy_from_slice(&SIGMA);
        for (word, bytes) in state[4..12].iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        state[14] = nonce as u32;
        state[15] = (nonce >> 32) as u32;
        Rng { state, block: [0; 16], used: 16 }
    }

    /// The next word of the keystream.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 16 {
            self.block = chacha8_block(&self.state);
            self.used = 0;
            let counter = (u64::from(self.state[13]) << 32 | u64::from(self.state[12])).wrapping_add(1);
            self.state[12] = counter as u32;
            self.state[13] = (counter >> 32) as u32;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Two words, the first one low.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Fill `bytes` with whole words, little-endian; the rest of a last partial word is dropped.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_u32().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Uniform in `0..n`, unbiased (Lemire's multiplication with rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "Rng::below(0): there is nothing to draw from");
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Uniform in [0, 1): the top 53 bits of one `next_u64`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal: the cosine branch of Box and Muller, two uniforms a draw.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fisher and Yates, from the last position down.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// `k` distinct positions of `0..n` in the order drawn; all of them, shuffled, if `k >= n`.
    ///
    /// A partial Fisher-Yates from the front that stores only the moved positions: O(k log k) time, O(k) memory.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut moved = std::collections::BTreeMap::new();
        let mut drawn = Vec::with_capacity(k.min(n));
        for i in 0..k.min(n) {
            let j = i + self.below((n - i) as u64) as usize;
            let at_i = moved.remove(&i).unwrap_or(i);
            drawn.push(if i == j { at_i } else { moved.insert(j, at_i).unwrap_or(j) });
        }
        drawn
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn chacha8_block(state: &[u32; 16]) -> [u32; 16] {
    let mut x = *state;
    for _ in 0..4 {
        for column in 0..4 {
            quarter_round(&mut x, [column, 4 + column, 8 + column, 12 + column]);
        }
        for diagonal in 0..4 {
            let [b, c, d] = [1, 2, 3].map(|row| 4 * row + (diagonal + row) % 4);
            quarter_round(&mut x, [diagonal, b, c, d]);
        }
    }
    for (word, start) in x.iter_mut().zip(state) {
        *word = word.wrapping_add(*start);
    }
    x
}

fn quarter_round(x: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for [turn_d, turn_b] in [[16, 12], [8, 7]] {
        x[a] = x[a].wrapping_add(x[b]);
        x[d] = (x[d] ^ x[a]).rotate_left(turn_d);
        x[c] = x[c].wrapping_add(x[d]);
        x[b] = (x[b] ^ x[c]).rotate_left(turn_b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published keystreams of ChaCha8 with an all-zero key and nonce, and of key 01 00 ... (draft-strombergson-chacha-test-vectors,
    /// TC1 and TC2, 256-bit key, 8 rounds).
    #[test]
    fn keystream_equals_the_published_vectors() {
        let mut key_2 = [0; 32];
        key_2[0] = 1;
        for (seed, expected) in [
            ([0; 32], "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"),
            (key_2, "cf5ee9a0494aa9613e05d5ed725b804b12f4a465ee635acc3a311de8740489ea"),
        ] {
            let mut bytes = [0; 32];
            Rng::from_seed(seed).fill(&mut bytes);
            assert_eq!(bytes.map(|b| format!("{b:02x}")).concat(), expected);
        }
    }

    /// Golden values of this specification: printed once by this very test (seed 0, 1, ..., 31) and kept for ever.
    #[test]
    fn draws_never_change() {
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        let mut rng = Rng::for_stream(seed, "golden");
        let drawn = (rng.next_u64(), rng.below(1000), rng.uniform(), rng.normal(), rng.sample(10, 4));
        let mut order: Vec<u32> = (0..6).collect();
        rng.shuffle(&mut order);
        assert_eq!(drawn.0, GOLDEN.0);
        assert_eq!(drawn.1, GOLDEN.1);
        assert_eq!(drawn.2.to_bits(), GOLDEN.2.to_bits());
        // ln and cos come from the platform's libm: the last bits may differ there.
        assert!((drawn.3 - GOLDEN.3).abs() < 1e-12);
        assert_eq!(drawn.4, GOLDEN.4);
        assert_eq!(order, GOLDEN.5);
    }
    const GOLDEN: (u64, u64, f64, f64, [usize; 4], [u32; 6]) =
        (15450004416201523525, 940, 0.25424301948491534, -0.2710992369477144, [2, 4, 3, 6], [5, 1, 2, 4, 0, 3]);

    #[test]
    fn sample_is_distinct_and_complete() {
        for (n, k) in [(0, 0), (0, 3), (1, 1), (5, 0), (5, 5), (5, 9), (1000, 7)] {
            let mut drawn = Rng::from_seed([7; 32]).sample(n, k);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), k.min(n));
            assert!(drawn.iter().all(|i| *i < n));
        }
    }

    #[test]
    fn sample_is_a_prefix_of_a_longer_sample() {
        let [short, long] = [4, 9].map(|k| Rng::from_seed([3; 32]).sample(20, k));
        assert_eq!(short, long[..4]);
    }

    /// 6000 draws of 6 values: each count is binomial(6000, 1/6) with standard deviation 29, so 150 is five of them.
    #[test]
    fn below_is_uniform() {
        let mut rng = Rng::from_seed([9; 32]);
        let mut counts = [0i32; 6];
        (0..6000).for_each(|_| counts[rng.below(6) as usize] += 1);
        assert!(counts.iter().all(|count| (count - 1000).abs() < 150), "{counts:?}");
    }

    /// 20 000 normals: mean within 5/sqrt(n), variance within 5*sqrt(2/n).
    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let mut rng = Rng::from_seed([4; 32]);
        let draws: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.036 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
