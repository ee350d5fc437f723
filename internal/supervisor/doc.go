// Package supervisor runs one runner slot as PID 1 of its container: it registers with GitHub, runs
// the Actions listener for exactly one job, cleans up, and starts again until it is stopped.
//
// It is one state machine. Each phase is one function that returns the next phase and its cause,
// which is logged in one line:
//
//	waiting ──> registering ──> connecting ──> listening ──> job
//	 ^   ^          │               │              │          │
//	 │   └──────────┘ it failed     └──────────────┼──────────┘ the listener ended
//	 │                                             v
//	 └─────────────────────────────────────────  cleaning
//
//	(from any phase) ───> draining ───> stopped
//
//	  - waiting: backs off after failures, then waits until the clock is right to 2 s and GitHub's
//	    names resolve. A skewed clock makes GitHub take a registration for deleted.
//	  - registering: gets a just-in-time configuration under a new name and starts the listener.
//	  - connecting: the listener runs without a session. listening: it printed "Listening for Jobs".
//	    job: it printed "Running job:". A listener that does nothing with a job it was handed is
//	    stopped once GitHub deletes its registration.
//	  - cleaning: removes processes, credentials and files of the job. A registration that did no
//	    job is deleted at GitHub.
//	  - draining: asks GitHub to delete the registration, the only idle check without a race; see
//	    drain.
//
// The supervisor runs bin/Runner.Listener itself because run.sh turns most failures into exit code
// 0 (actions/runner src/Misc/layoutroot/run-helper.sh.template). The listener's output says what
// became of a job, not its exit code: 0 also means "stopped while idle" and "registration gone".
//
// Secrets: GitHub's token never enters this package. The just-in-time configuration contains a
// private key. The listener gets it in its environment, never in argv, and the files that it makes
// of it are removed after the job. Every step of a job inherits the listener's environment, so that
// is built from a list of allowed names.
package supervisor
