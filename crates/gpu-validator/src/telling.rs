//! Engines that report their failures: other engines take over their work, and the outcome alone would not show a failure.

use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};

/// An engine and its name.
pub(crate) struct Telling<F> {
    pub(crate) name: String,
    pub(crate) engine: Box<dyn Engine>,
    /// Is notified of each failure.
    pub(crate) tell: F,
}

impl<F: Fn(String)> Telling<F> {
    /// An engine with too little memory for one device's work can still do smaller work, and being stopped is not a
    /// failure.
    fn told<T>(&self, done: Result<T, EngineError>) -> Result<T, EngineError> {
        if let Err(error) = &done
            && !matches!(error, EngineError::OutOfMemory { .. } | EngineError::Cancelled)
        {
            (self.tell)(format!("{} takes no more work: {error}", self.name));
        }
        done
    }
}

impl<F: Fn(String) + Send> Engine for Telling<F> {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        let done = self.engine.prepare(assignment);
        self.told(done)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let done = self.engine.fill(task, progress);
        self.told(done)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let done = self.engine.sweep(salt, progress);
        self.told(done)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use engine_cpu::{CpuEngine, CpuEngineConfig};
    use protocol::engine::{AssignmentFields, Unobserved};

    #[test]
    fn what_ends_an_engine_is_told_and_what_does_not_is_not() {
        let (told, heard) = channel();
        let cpu = CpuEngine::new(CpuEngineConfig {
            memory_limit_bytes: Some(8 << 20),
            ..CpuEngineConfig::default()
        });
        let mut engine = Telling {
            name: "GPU 7".to_owned(),
            engine: Box::new(cpu.expect("the best path runs here")),
            tell: move |text| told.send(text).expect("it is heard"),
        };
        let assignment = |matrix_dim| {
            Assignment::new(AssignmentFields {
                matrix_dim,
                matrix_offset: 0,
                num_matrices: 1,
                max_inner_dim: 64,
            })
            .expect("sizes that a plan can have")
        };
        let too_large = engine.prepare(&assignment(4096));
        assert!(matches!(too_large, Err(EngineError::OutOfMemory { .. })));
        assert!(heard.try_recv().is_err());
        // An empty sweep.
        engine.prepare(&assignment(256)).expect("the memory is there");
        let error = engine
            .sweep(&Salt([0; 32]), &Unobserved)
            .expect_err("nothing is filled");
        assert_eq!(heard.try_recv(), Ok(format!("GPU 7 takes no more work: {error}")));
    }
}
