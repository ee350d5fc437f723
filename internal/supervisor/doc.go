// Package supervisor is the life of one runner slot: it registers with GitHub, runs the Actions listener for exactly one
// job, cleans up, and begins again, until it is told to stop. It is PID 1 of a runner container.
//
// The life is one state machine, and each of its phases is one function that returns the next phase and the cause, which is
// logged in one line:
//
//	preflight ──> waiting ──> registering ──> connecting ──> listening ──> job
//	               ^   ^          │               │              │          │
//	               │   └──────────┘ it failed     └──────────────┼──────────┘ the process ended, whatever the reason
//	               │                                             v
//	               └─────────────────────────────────────────  cleaning
//
//	(from anywhere) ───> draining ───> stopped
//
//	  - preflight: looks at everything that a slot needs, and names all that is missing, each with its remedy. Only what no
//	    waiting mends, such as a setting that makes no sense, has ended the program before this.
//	  - waiting: the pause since the last attempt, longer after each failure, and then until the clock is right to 2 s and
//	    GitHub's names can be resolved. A skewed clock makes GitHub take a registration for deleted.
//	  - registering: has GitHub make a just-in-time configuration under a name that was never used before, and starts the
//	    listener with it.
//	  - connecting: the listener runs and has no session yet. listening: it printed "Listening for Jobs". job: it printed
//	    "Running job:". A listener that does nothing with a job that it was handed is ended, when GitHub lets its
//	    registration be deleted.
//	  - cleaning: nothing of the job survives: no process, no credential, no file in its work directory. A registration
//	    that did no job is deleted at GitHub.
//	  - draining: asks GitHub to delete the registration. That is the only idle test without a race (facts: a busy runner
//	    cannot be deleted, 422): if it succeeds, no job can come any more and the listener is interrupted; if it is refused,
//	    the job is left alone and the question is asked again.
//
// The supervisor runs bin/Runner.Listener itself because run.sh turns almost every failure into exit code 0
// (actions/runner src/Misc/layoutroot/run-helper.sh.template). What was a job is told by the lines of the listener, not by
// its exit code: 0 also means "stopped while idle" and "the registration is gone".
//
// Secrets: the token of GitHub never comes into this package. The just-in-time configuration contains a private key; it
// is handed to the listener in its environment (never argv), and the files that the listener makes of it are removed
// after the job. The listener's environment is built from a list of allowed names, because every step of a job inherits it.
package supervisor
