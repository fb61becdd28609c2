//! Errors of the GPUs in the kernel's log: lines `NVRM: Xid (PCI:0000:1a:00): 79, …`, since boot or since the log's ring was
//! overwritten. NVML does not keep them.

use std::io::{ErrorKind, Read};

/// A GPU's address on the PCI bus, without the function, and the error's number.
pub(crate) type Xid = (String, u32);

/// Most records that are read: the ring of a kernel has a few thousand.
const MAX_RECORDS: usize = 1 << 17;

/// Longest record of `/dev/kmsg` (bytes); a shorter buffer is an error there.
const RECORD_BYTES: usize = 8192;

/// All that the log has; `None` where it may not be read.
#[cfg(target_os = "linux")]
pub(crate) fn logged() -> Option<Vec<Xid>> {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;

    // Without this, a read at the end waits for the next record.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    read(File::options().read(true).custom_flags(flags).open("/dev/kmsg").ok()?)
}

/// Only Linux has such a log.
#[cfg(not(target_os = "linux"))]
pub(crate) fn logged() -> Option<Vec<Xid>> {
    None
}

/// Every read returns one record.
fn read(mut log: impl Read) -> Option<Vec<Xid>> {
    let mut record = [0; RECORD_BYTES];
    let mut xids = Vec::new();
    for _ in 0..MAX_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => xids.extend(parse(&String::from_utf8_lossy(&record[..length]))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // A record that was overwritten before it was read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
    }
    Some(xids)
}

/// A record is `priority,sequence,time,flags;text`. Older drivers write the address without `PCI:`.
fn parse(record: &str) -> Option<Xid> {
    let (_, text) = record.split_once(';')?;
    let (address, rest) = text.strip_prefix("NVRM: Xid (")?.split_once("): ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let address = address.strip_prefix("PCI:").unwrap_or(address);
    Some((address.to_ascii_lowercase(), digits.parse().ok()?))
}

/// The errors of the GPU at this address, as text for a label: `none`, or each number with its count, as `48:1 79:2`.
pub(crate) fn of(xids: &[Xid], pci_bus_id: &str) -> String {
    let pci_bus_id = pci_bus_id.to_ascii_lowercase();
    // With or without the function.
    let is_its = |address: &str| {
        let rest = pci_bus_id.strip_prefix(address);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut counts = std::collections::BTreeMap::<u32, u32>::new();
    for (_, number) in xids.iter().filter(|(address, _)| is_its(address)) {
        *counts.entry(*number).or_default() += 1;
    }
    if counts.is_empty() {
        return "none".to_owned();
    }
    let counts = counts.iter().map(|(number, count)| format!("{number}:{count}"));
    counts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use super::*;

    /// A log that returns these records, and then what a log without more records returns.
    struct Log(VecDeque<Result<&'static str, ErrorKind>>);

    impl Read for Log {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let record = self.0.pop_front().unwrap_or(Err(ErrorKind::WouldBlock))?;
            buffer[..record.len()].copy_from_slice(record.as_bytes());
            Ok(record.len())
        }
    }

    #[test]
    fn errors_are_counted_by_gpu_and_number() {
        let log = Log(VecDeque::from([
            Ok("6,339,5140900,-;NET: Registered protocol family 10\n"),
            Ok("4,1,7,-;NVRM: Xid (PCI:0000:1A:00): 79, pid=1, name=a, GPU has fallen off the bus.\n"),
            Err(ErrorKind::BrokenPipe),
            Ok("4,2,8,-;NVRM: Xid (PCI:0000:1a:00): 48, pid=1, a double bit error\n SUBSYSTEM=pci\n"),
            Ok("4,3,9,-;NVRM: Xid (0000:1b:00): 31, Ch 0000000b\n"),
            Ok("4,4,9,-;NVRM: Xid (PCI:0000:1a:00): 79, pid=1\n"),
            // No messages of the driver.
            Ok("4,5,9,-;audit: NVRM: Xid (PCI:0000:1a:00): 79, pid=1\n"),
            Ok("4,6,9,-;NVRM: Xid (PCI:0000:1a:00): many\n"),
            Ok("NVRM"),
        ]));
        let xids = read(log).expect("a log");
        assert_eq!(of(&xids, "0000:1a:00.0"), "48:1 79:2");
        assert_eq!(of(&xids, "0000:1B:00.0"), "31:1");
        assert_eq!(of(&xids, "0000:1c:00.0"), "none");
        assert_eq!(of(&xids, "0000:1a:000.0"), "none");
    }

    #[test]
    fn a_log_that_may_not_be_read_has_no_errors_and_no_label() {
        assert_eq!(read(Log(VecDeque::from([Err(ErrorKind::PermissionDenied)]))), None);
        assert_eq!(read(io::empty()), Some(vec![]));
        let endless = io::repeat(b'x');
        assert_eq!(read(endless), Some(vec![]), "it ends");
        // Whatever this machine allows.
        let _ = logged();
    }
}
