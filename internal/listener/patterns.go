package listener

import "slices"

// pattern is one row of the table: what is matched, what it means, since when, and who says so.
type pattern struct {
	where  where
	prefix string
	suffix string // "" = anything may follow the prefix; "$" = nothing may
	kind   Kind
	reason Reason // Failure only

	since  string // first runner version known to print it; "" = every version that is still accepted by GitHub
	source string // file:line in actions/runner (2.336.0), or an issue of it
}

// where says in which part of a line a pattern is looked for.
type where int

const (
	anywhere where = iota // the whole line, after its time stamp if it has one
	stamped               // as anywhere, but only in lines that have a time stamp
	errText               // what follows "An error occurred: "
	diag                  // the message of a diagnostic line, "[RUNNER {ts} INFO Source] message"
)

// The files of actions/runner that are quoted: BML is BrokerMessageListener.cs, ML
// MessageListener.cs, R Runner.cs, P Program.cs, JD JobDispatcher.cs (all in src/Runner.Listener),
// RH run-helper.sh.template, RS run.sh (src/Misc/layoutroot).
//
// Rows are tried from top to bottom and the first match wins. Text that a workflow's author
// controls (the name of a job) is only reached behind a time stamp and a fixed prefix.
var patterns = []pattern{
	// The life of a session. "√ Connected to GitHub" is printed before a session exists, on every
	// retry, and when a session is renewed: it proves nothing.
	{anywhere, "√ Connected to GitHub", "$", Connected, "", "", "BML:131, ML:111"},
	{anywhere, "Current runner version: '", "'", Version, "", "", "R:490"},
	{stamped, "Listening for Jobs", "$", Listening, "", "", "R:491; once per session, nothing about later health"},
	{stamped, "Runner connect error: ", "Retrying until reconnected.", RetryLoop, "", "", "BML:278-385, ML:291-369; once per outage, on stderr"},
	{stamped, "Runner reconnected.", "$", Reconnected, "", "", "ML:296, BML:133; never by the poll loop of the broker protocol"},
	{diag, "Sleeping for ", " seconds before retrying.", RetryAttempt, "", "", "BML:372, ML:365; once per attempt, only with ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"},

	// Jobs. The name is arbitrary text and can contain "completed with result:"; Parse takes the
	// last one.
	{stamped, "Running job: ", "", JobStarted, "", "", "JD:378"},
	{stamped, "Job ", "", JobCompleted, "", "", "JD:591,701"},
	{diag, "Acknowledging runner request '", "'.", JobOffered, "", "", "R; #4668, #4703: seen as the last line for hours; only with ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"},
	{diag, "Skipping message Job.", "", JobSkipped, "", "", "R:738-746, #4617; nothing on the console, only with ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"},

	// Session conflict: every 30 s, exit 5 after 240 s.
	{anywhere, "A session for this runner already exists.", "", SessionConflict, "", "", "BML:472-493, ML:526-547; exit 5 since 2.316 (#3215)"},
	{anywhere, "Stop retry on SessionConflictException after retried for ", "", Notice, "", "", "BML:487"},

	// The listener gives up.
	{anywhere, "Failed to create a session. The runner registration has been deleted from the server", "", Failure, RegistrationDeleted, "", "BML:191-206; also for a skewed clock, #4648"},
	{anywhere, "The runner no longer exists on the server.", "", Failure, RegistrationDeleted, "", "R:823-830, since 2.336 with exit 0 (#4551)"},
	{anywhere, "The local machine's clock may be out of sync with the server time", "", Failure, ClockSkew, "", "BML:494-515; every 30 s for 30 min"},
	{anywhere, "Stopped retrying OAuth token request exception after ", "", Notice, "", "", "BML:509"},
	{anywhere, "Runner is not configured.", "", Failure, NotConfigured, "", "R:279-284"},
	{anywhere, "Fail to create and validate runner's work directory", "", Failure, Other, "", "R:421-426"},
	{anywhere, failedToCreateSession, "is deprecated and cannot receive messages.", Failure, VersionDeprecated, "", "BML:516-533; exit 1, never 7"},
	{anywhere, failedToCreateSession + " You are not authorized to access ", "", Failure, Unauthorized, "", "ML:570-577"},
	{anywhere, failedToCreateSession, "", Failure, Other, "", "BML:516-533; also the last line of a cause named above, then not counted again"},
	{errText, "Runner version ", "is deprecated and cannot receive messages.", Failure, VersionDeprecated, "", "P:142-170; exit 1, or 7 since 2.333 if asked for"},
	{errText, "Runner not found", "", Failure, RegistrationDeleted, "", "#3857, up to 2.335"},
	{errText, "You are not authorized to access ", "", Failure, Unauthorized, "", "VssUnauthorizedException; exit 2"},
	{errText, "Not configured.", "", Failure, NotConfigured, "", "CM:61"},
	{errText, "", "", Failure, Other, "", "P:134-159"},

	// The end of the process, as the listener and the scripts around it print it.
	{anywhere, "Exiting...", "$", Exiting, "", "", "R:359-391, on SIGINT"},
	{anywhere, "Runner listener exit", "", Exited, "", "", "RH; and our supervisor's \"Runner listener exited with code N.\""},
	{anywhere, "Exiting with unknown error code: ", "", Exited, "", "", "RH"},
	{anywhere, "Restarting runner...", "$", Notice, "", "", "RS"},
	{anywhere, "Exiting runner...", "$", Notice, "", "", "RS; with RUNNER_MANUALLY_TRAP_SIG before the listener has ended"},

	// Known, no change of the state.
	{anywhere, "√ ", "", Notice, "", "", "Terminal.cs WriteSuccessMessage"},
	{anywhere, "Runner update ", "", Notice, "", "", "SelfUpdaterV2.cs:68-130"},
	{anywhere, "Runner will exit shortly for update", "", Notice, "", "", "SelfUpdaterV2.cs:68-130"},
	{anywhere, "Waiting for current job finish running.", "$", Notice, "", "", "SelfUpdaterV2.cs:68-130"},
	{anywhere, "Generate and execute update script.", "$", Notice, "", "", "SelfUpdaterV2.cs:68-130"},
}

const (
	failedToCreateSession = "Failed to create session."

	// Both spellings are in use: one r up to 2.332, two from 2.333 (actions/runner#4285).
	errorOccurred = "An error occurred: "
	errorOccured  = "An error occured: " //nolint:misspell // The runner's own spelling up to 2.332.

	// With ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT the diagnostic log of both processes is on the
	// console too (JD:442-459). The worker's part can be a flood, and can hold the job's own
	// output.
	workerPrefix = "[WORKER "
	runnerPrefix = "[RUNNER "

	completedWith = " completed with result: "
)

// rows are the rows of the table for one part of a line, by the first byte that they match, each
// list in the order of the table.
type rows [256][]*pattern

var (
	consoleRows = rowsFor(anywhere, stamped)
	errorRows   = rowsFor(errText)
	diagRows    = rowsFor(diag)
)

func rowsFor(parts ...where) (r rows) {
	for i := range patterns {
		p := &patterns[i]
		if !slices.Contains(parts, p.where) {
			continue
		}
		for first := range r {
			if p.prefix == "" || p.prefix[0] == byte(first) {
				r[first] = append(r[first], p)
			}
		}
	}
	return r
}

// of returns the rows that can match. No row begins with the zero byte, so its list is that of an
// empty text.
func (r *rows) of(text []byte) []*pattern {
	if len(text) == 0 {
		return r[0]
	}
	return r[text[0]]
}
