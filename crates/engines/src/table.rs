//! Selects an engine of a table.

use std::thread;

use protocol::engine::EngineError;

use backend::{Backend, HostDevice, Unavailable};

/// Every engine of this build, the fastest first: `auto` takes the first available one.
pub const ENGINES: &[&dyn Backend] = &[
    #[cfg(feature = "cuda")]
    &engine_cuda::Cuda,
    &engine_cpu::Cpu,
];

/// The selected engine, and the result of probing it.
pub struct Taken<'a, T> {
    /// The engine.
    pub backend: &'a dyn Backend,
    /// The result of probing it.
    pub found: T,
    /// The engines before it in the table and why they were not selected, in order: each is [`Unavailable::Absent`].
    pub absent: Vec<(&'a dyn Backend, Unavailable)>,
}

/// The engine of this name; `None` if the table has none.
#[must_use]
pub fn named<'a>(table: &[&'a dyn Backend], name: &str) -> Option<&'a dyn Backend> {
    table.iter().copied().find(|backend| backend.name() == name)
}

/// The first engine of a table, the fastest first, for which `look` finds devices. An absent engine is skipped. An
/// engine that fails, or whose driver shows no device, is not: its work must not silently move to another engine.
///
/// # Errors
///
/// [`Unavailable::Failed`] of the first engine that fails; [`Unavailable::Absent`] of the last one if all are absent.
///
/// # Panics
///
/// If the table is empty.
pub fn auto<'a, T>(
    table: &[&'a dyn Backend],
    look: impl Fn(&dyn Backend) -> Result<T, Unavailable>,
) -> Result<Taken<'a, T>, Unavailable> {
    let mut absent = Vec::new();
    for backend in table.iter().copied() {
        match look(backend) {
            Ok(found) => {
                return Ok(Taken { backend, found, absent });
            }
            Err(why @ Unavailable::Absent(_)) => absent.push((backend, why)),
            Err(why @ Unavailable::Failed { .. }) => return Err(why),
        }
    }
    let (_, why) = absent.pop().expect("a table has engines");
    Err(why)
}

/// Opens something on each device, all in parallel: creating a context takes a considerable part of a second.
///
/// # Errors
///
/// The name and error of the first device in order that does not open.
pub fn open_each<T: Send>(
    devices: &[HostDevice],
    open: impl Fn(u32) -> Result<T, EngineError> + Sync,
) -> Result<Vec<T>, (String, EngineError)> {
    thread::scope(|scope| {
        let open = &open;
        let opening: Vec<_> = devices
            .iter()
            .map(|device| (device, scope.spawn(move || open(device.index))))
            .collect();
        let ends = opening.into_iter().map(|(device, thread)| match thread.join() {
            Ok(opened) => opened.map_err(|error| (device.name.clone(), error)),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ends.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backend::{NotBuilt, Wanted};
    use engine_cpu::Cpu;

    const GPU: NotBuilt = NotBuilt {
        name: "gpu",
        device_kind: "GPU",
        why: "built without",
    };

    fn failed() -> Unavailable {
        Unavailable::Failed {
            why: "shows no device".into(),
            code: protocol::message::AbortCode::Internal,
        }
    }

    #[test]
    fn auto_takes_the_first_that_is_there_and_says_why_not_the_others() {
        let table: [&dyn Backend; 2] = [&GPU, &Cpu];
        let taken = auto(&table, |backend| backend.count(&Wanted::default())).expect("a CPU");
        assert_eq!((taken.backend.name(), taken.found), ("cpu", 1));
        let absent = taken
            .absent
            .iter()
            .map(|(backend, why)| (backend.name(), why.to_string()));
        assert_eq!(absent.collect::<Vec<_>>(), [("gpu", "built without".to_owned())]);
        let taken = auto(&table, |_| Ok(())).expect("all are there");
        assert_eq!((taken.backend.name(), taken.absent.len()), ("gpu", 0));
    }

    #[test]
    fn auto_passes_no_work_of_an_engine_that_fails_to_the_cpu() {
        let looked_at = std::cell::RefCell::new(Vec::new());
        let look = |backend: &dyn Backend| {
            looked_at.borrow_mut().push(backend.name());
            if backend.name() == "cpu" { Ok(()) } else { Err(failed()) }
        };
        let table: [&dyn Backend; 2] = [&GPU, &Cpu];
        let refused = auto(&table, look).err().expect("it shows no device");
        assert!(matches!(&refused, Unavailable::Failed { why, .. } if why.to_string() == "shows no device"));
        assert_eq!(looked_at.into_inner(), ["gpu"], "the CPU is not even looked at");
    }

    #[test]
    fn where_nothing_is_there_the_last_says_so() {
        let refused = auto::<usize>(&[&GPU], |backend| backend.count(&Wanted::default())).err();
        assert!(matches!(refused, Some(Unavailable::Absent(why)) if why.to_string() == "built without"));
    }

    #[test]
    fn every_engine_of_the_table_has_a_name_of_its_own_and_the_last_is_always_there() {
        for (i, backend) in ENGINES.iter().enumerate() {
            let found = named(ENGINES, backend.name()).expect("it is in the table");
            assert_eq!(found.about(), backend.about(), "{i}");
            assert_ne!(backend.name(), "auto");
        }
        let last = ENGINES.last().expect("a table has engines");
        assert!(last.is_emulated() && last.count(&Wanted::default()).is_ok());
    }

    #[test]
    fn engines_are_found_by_name_alone() {
        let table: [&dyn Backend; 2] = [&GPU, &Cpu];
        assert_eq!(named(&table, "gpu").map(Backend::name), Some("gpu"));
        assert_eq!(named(&table, "cpu").map(Backend::name), Some("cpu"));
        for other in ["auto", "CPU", "cp", ""] {
            assert!(named(&table, other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn the_first_device_that_does_not_open_is_named() {
        let device = |index| HostDevice {
            index,
            name: format!("GPU {index}"),
        };
        let devices = [device(0), device(4), device(7)];
        assert_eq!(open_each(&devices, Ok), Ok(vec![0, 4, 7]));
        let lost = |index| EngineError::DeviceLost(format!("status {index}"));
        let open = |index| if index == 0 { Ok(index) } else { Err(lost(index)) };
        assert_eq!(open_each(&devices, open), Err(("GPU 4".to_owned(), lost(4))));
    }
}
