//! Which GPUs a process uses, by CUDA's rules for `CUDA_VISIBLE_DEVICES`.

/// A device as NVML lists it: in the order of PCI addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `GPU-…`.
    pub uuid: String,
    /// Product.
    pub name: String,
    /// UUIDs of its MIG instances; empty where MIG is off.
    pub instances: Vec<String>,
}

/// How much of a device is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// The whole device.
    Whole,
    /// So many of its MIG instances.
    Instances(usize),
    /// Not at all.
    Hidden,
    /// It cannot be told: CUDA numbers devices by speed, NVML by address, and they differ in kind here.
    Unknown,
}

fn by_uuid(devices: &[Listed], entry: &str, seen: &mut [Visibility]) -> bool {
    // The old form of a MIG name is MIG-GPU-<uuid>/<instance>/<compute instance>.
    if let Some(rest) = entry.strip_prefix("MIG-GPU-") {
        let uuid = format!("GPU-{}", rest.split('/').next().unwrap_or_default());
        let Some(device) = devices.iter().position(|device| device.uuid == uuid) else { return false };
        add_instance(&mut seen[device]);
        return true;
    }
    if entry.starts_with("MIG-") {
        let holder = devices.iter().position(|device| device.instances.iter().any(|uuid| uuid == entry));
        let Some(device) = holder else { return false };
        add_instance(&mut seen[device]);
        return true;
    }
    // A prefix is enough where it is unique.
    let mut found = (0..devices.len()).filter(|index| devices[*index].uuid.starts_with(entry));
    match (found.next(), found.next()) {
        (Some(device), None) => {
            seen[device] = Visibility::Whole;
            true
        }
        _ => false,
    }
}

fn add_instance(seen: &mut Visibility) {
    *seen = match *seen {
        Visibility::Hidden => Visibility::Instances(1),
        Visibility::Instances(count) => Visibility::Instances(count + 1),
        other => other,
    };
}

/// Visibility of each device under a mask (`None`: no mask). The list ends at the first entry that names nothing.
pub fn visible(devices: &[Listed], mask: Option<&str>, by_address: bool) -> Vec<Visibility> {
    let Some(mask) = mask else {
        return vec![Visibility::Whole; devices.len()];
    };
    let mut seen = vec![Visibility::Hidden; devices.len()];
    let mixed = devices.iter().any(|device| device.name != devices[0].name);
    let mut by_index = false;
    for entry in mask.split(',').map(str::trim) {
        let known = match entry.parse::<i64>() {
            Ok(index) => {
                by_index = true;
                let device = usize::try_from(index).ok().and_then(|index| seen.get_mut(index));
                device.map(|device| *device = Visibility::Whole).is_some()
            }
            Err(_) => !entry.is_empty() && by_uuid(devices, entry, &mut seen),
        };
        if !known {
            break;
        }
    }
    let partial = seen.contains(&Visibility::Hidden) && seen.contains(&Visibility::Whole);
    if by_index && mixed && partial && !by_address {
        return vec![Visibility::Unknown; devices.len()];
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use Visibility::{Hidden, Instances, Unknown, Whole};

    fn machine() -> Vec<Listed> {
        let device = |uuid: &str| Listed { uuid: uuid.to_owned(), name: "H100".to_owned(), instances: Vec::new() };
        let mut devices: Vec<Listed> = ["GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44"].map(device).into();
        devices[1].instances = vec!["MIG-1".to_owned(), "MIG-2".to_owned(), "MIG-3".to_owned()];
        devices
    }

    #[test]
    fn v10_masks_name_devices_as_cuda_reads_them() {
        let devices = machine();
        let seen = |mask| visible(&devices, Some(mask), false);
        assert_eq!(visible(&devices, None, false), [Whole; 4]);
        assert_eq!(seen("3"), [Hidden, Hidden, Hidden, Whole]);
        assert_eq!(seen("2, 0"), [Whole, Hidden, Whole, Hidden]);
        assert_eq!(seen(""), [Hidden; 4]);
        assert_eq!(seen("-1"), [Hidden; 4]);
        assert_eq!(seen("0,-1,1"), [Whole, Hidden, Hidden, Hidden]);
        assert_eq!(seen("0,9,1"), [Whole, Hidden, Hidden, Hidden]);
        assert_eq!(seen("GPU-bb"), [Hidden, Hidden, Whole, Hidden]);
        assert_eq!(seen("GPU-aa"), [Hidden; 4], "an ambiguous prefix names nothing");
        assert_eq!(seen("MIG-1,MIG-3"), [Hidden, Instances(2), Hidden, Hidden]);
        assert_eq!(seen("MIG-GPU-cc44/1/0"), [Hidden, Hidden, Hidden, Instances(1)]);
    }

    #[test]
    fn numbers_on_a_mixed_machine_are_not_guessed() {
        let mut devices = machine();
        devices[2].name = "L4".to_owned();
        assert_eq!(visible(&devices, Some("0"), false), [Unknown; 4]);
        assert_eq!(visible(&devices, Some("0"), true), [Whole, Hidden, Hidden, Hidden]);
        assert_eq!(visible(&devices, Some("0,1,2,3"), false), [Whole; 4]);
        assert_eq!(visible(&devices, Some("GPU-aa11"), false)[0], Whole);
    }
}
