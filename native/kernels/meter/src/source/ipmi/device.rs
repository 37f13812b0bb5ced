//! The OpenIPMI device of Linux (`ipmi_devintf`): structures and calls of `linux/ipmi.h`.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::transport::{Transport, open_failure};

/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE` and `IPMI_BMC_CHANNEL`.
const SYSTEM_INTERFACE: i32 = 0x0C;
const BMC_CHANNEL: i16 = 0x0F;

/// Longest message: `IPMI_MAX_MSG_LENGTH`.
const LONGEST: usize = 272;

#[repr(C)]
struct Address {
    kind: i32,
    channel: i16,
    lun: u8,
}

#[repr(C)]
struct Message {
    netfn: u8,
    command: u8,
    length: u16,
    data: *mut u8,
}

#[repr(C)]
struct Request {
    address: *mut Address,
    address_length: u32,
    id: libc::c_long,
    message: Message,
}

#[repr(C)]
struct Received {
    kind: i32,
    address: *mut Address,
    address_length: u32,
    id: libc::c_long,
    message: Message,
}

/// `_IOC(direction, 'i', number, size)` as most architectures have it.
const fn call_number(direction: u32, number: u32, size: usize) -> u32 {
    (direction << 30) | ((size as u32) << 16) | ((b'i' as u32) << 8) | number
}

/// `IPMICTL_SEND_COMMAND`, `IPMICTL_RECEIVE_MSG_TRUNC`.
const SEND_COMMAND: u32 = call_number(2, 13, size_of::<Request>());
const RECEIVE_TRUNCATED: u32 = call_number(3, 11, size_of::<Received>());

/// An open device.
pub struct Device {
    file: File,
    next_id: libc::c_long,
}

fn failure(what: &str) -> String {
    format!("ERR_ENERGY_IPMI_DEVICE: {what}: {}", std::io::Error::last_os_error())
}

impl Device {
    /// Open a device file.
    ///
    /// # Errors
    /// The reason as text, with its code.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self { file: file.map_err(|error| open_failure(path, &error))?, next_id: 1 })
    }

    fn send(&mut self, netfn: u8, command: u8, data: &[u8]) -> Result<libc::c_long, String> {
        let mut data = data.to_vec();
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let mut address = Address { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
        let mut request = Request {
            address: &raw mut address,
            address_length: size_of::<Address>() as u32,
            id,
            message: Message { netfn, command, length: data.len() as u16, data: data.as_mut_ptr() },
        };
        // SAFETY: `request` is an ipmi_req whose pointers are valid for the lengths it states and outlive the call.
        let status = unsafe { libc::ioctl(self.file.as_raw_fd(), SEND_COMMAND as _, &raw mut request) };
        if status < 0 { Err(failure("the command could not be sent")) } else { Ok(id) }
    }

    /// Whether something has arrived before `until`.
    fn wait(&self, until: Instant) -> Result<bool, String> {
        let rest = until.saturating_duration_since(Instant::now()).as_millis().min(60_000) as i32;
        let mut waiting = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut waiting, 1, rest) } {
            0 => Ok(false),
            count if count > 0 => Ok(true),
            _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {
                Ok(Instant::now() < until)
            }
            _ => Err(failure("waiting for the answer failed")),
        }
    }

    /// What has arrived: the id it answers, and its bytes. `None` where nothing has.
    fn receive(&mut self) -> Result<Option<(libc::c_long, Vec<u8>)>, String> {
        let mut bytes = vec![0_u8; LONGEST];
        // Room for any kind of address the kernel may write: struct ipmi_addr has 32 bytes of data behind its head.
        let mut address = [0_u64; 6];
        let mut received = Received {
            kind: 0,
            address: address.as_mut_ptr().cast(),
            address_length: size_of_val(&address) as u32,
            id: 0,
            message: Message { netfn: 0, command: 0, length: LONGEST as u16, data: bytes.as_mut_ptr() },
        };
        // SAFETY: `received` is an ipmi_recv whose pointers are valid and writable for the lengths it states.
        let status = unsafe { libc::ioctl(self.file.as_raw_fd(), RECEIVE_TRUNCATED as _, &raw mut received) };
        if status < 0 {
            return match std::io::Error::last_os_error().kind() {
                std::io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(failure("the answer could not be read")),
            };
        }
        bytes.truncate(usize::from(received.message.length).min(LONGEST));
        Ok(Some((received.id, bytes)))
    }
}

impl Transport for Device {
    fn exchange(&mut self, netfn: u8, command: u8, data: &[u8], timeout: Duration) -> Result<Vec<u8>, String> {
        let until = Instant::now() + timeout;
        let id = self.send(netfn, command, data)?;
        while self.wait(until)? {
            match self.receive()? {
                Some((answered, bytes)) if answered == id => return Ok(bytes),
                // The late answer to a command given up, or an event.
                _ if Instant::now() >= until => break,
                _ => {}
            }
        }
        let seconds = timeout.as_secs_f64();
        Err(format!("ERR_ENERGY_IPMI_TIMEOUT: the management controller has not answered within {seconds:.1} s"))
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn call_numbers_are_those_of_the_kernel() {
        // `IPMICTL_SEND_COMMAND` and `IPMICTL_RECEIVE_MSG_TRUNC` of linux/ipmi.h on a 64-bit machine.
        assert_eq!((SEND_COMMAND, RECEIVE_TRUNCATED), (0x8028_690D, 0xC030_690B));
    }
}
