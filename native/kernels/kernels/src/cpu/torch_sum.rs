//! The sum of a contiguous f32 vector in the order in which torch adds on one CPU thread.
//!
//! bitsandbytes' offset is a torch mean, and its bits depend on this order: 4 × 8 partial sums over the
//! vector, each a cascade of up to four levels (aten/src/ATen/native/cpu/SumKernel.cpp describes it).

/// f32 lanes of the vectors that torch's kernel uses.
const LANES: usize = 8;
/// Vectors summed side by side.
const ROWS: usize = 4;
/// Levels of the cascade.
const LEVELS: usize = 4;

type Row = [f32; LANES];

/// Sum in torch's order.
pub fn torch_sum(values: &[f32]) -> f32 {
    let (vectors, tail) = values.as_chunks::<LANES>();
    let (groups, rest) = vectors.as_chunks::<ROWS>();
    let mut sums = cascade(groups);
    for vector in rest {
        add(&mut sums[0], vector);
    }
    let [mut total, others @ ..] = sums;
    others.iter().for_each(|row| add(&mut total, row));
    let scalar = tail.iter().fold(0.0f32, |sum, value| sum + value);
    total.iter().fold(scalar, |sum, lane| sum + lane)
}

fn add(target: &mut Row, row: &Row) {
    target.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

fn cascade(groups: &[[Row; ROWS]]) -> [Row; ROWS] {
    let ceil_log2 = usize::BITS - groups.len().saturating_sub(1).leading_zeros();
    let power = (ceil_log2 as usize / LEVELS).max(4);
    let (step, mask) = (1usize << power, (1usize << power) - 1);
    let mut sums = [[[0.0f32; LANES]; ROWS]; LEVELS];
    let whole = groups.len() / step * step;
    for (index, group) in groups.iter().enumerate() {
        for row in 0..ROWS {
            add(&mut sums[0][row], &group[row]);
        }
        let count = index + 1;
        if count > whole || count % step != 0 {
            continue;
        }
        for level in 1..LEVELS {
            let lower = std::mem::replace(&mut sums[level - 1], [[0.0; LANES]; ROWS]);
            for row in 0..ROWS {
                add(&mut sums[level][row], &lower[row]);
            }
            if count & (mask << (level * power)) != 0 {
                break;
            }
        }
    }
    let [mut total, others @ ..] = sums;
    for level in &others {
        for row in 0..ROWS {
            add(&mut total[row], &level[row]);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::torch_sum;

    /// Bits of `torch.tensor(values).sum()` (torch 2.15, one thread) for values
    /// ((i · 7919) mod 1009) / 1024 + 1e-4.
    #[test]
    fn bits_equal_those_of_torch() {
        let expected = [
            (5u64, 0x401c_a831u32),
            (37, 0x4195_e395),
            (267, 0x4303_5a94),
            (1000, 0x43f6_798f),
            (10_007, 0x4599_f958),
            (50_000, 0x46c0_4dea),
            (300_001, 0x4810_39c2),
        ];
        for (count, bits) in expected {
            let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1024.0 + 1e-4).collect();
            assert_eq!(torch_sum(&values).to_bits(), bits, "{count}");
        }
    }
}
