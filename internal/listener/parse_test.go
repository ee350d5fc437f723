package listener

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const ts = "2026-08-20 12:00:00Z: "

var tsTime = time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line string
		want Event // Text is not compared
	}{
		{"√ Connected to GitHub", Event{Kind: Connected}},
		{"Current runner version: '2.336.0'\r\n", Event{Kind: Version, Version: "2.336.0"}},
		{ts + "Listening for Jobs\n", Event{Kind: Listening, Time: tsTime}},
		{ts + "Runner connect error: The HTTP request timed out after 00:01:40.. Retrying until reconnected.", Event{Kind: RetryLoop, Time: tsTime}},
		{ts + "Runner connect error: Error: Conflict. Retrying until reconnected.", Event{Kind: RetryLoop, Time: tsTime}},
		{ts + "Runner reconnected.", Event{Kind: Reconnected, Time: tsTime}},
		{"[RUNNER 2026-08-20 12:00:00Z INFO BrokerMessageListener] Sleeping for 28.273 seconds before retrying.", Event{Kind: RetryAttempt, Time: tsTime}},
		{"[RUNNER 2026-08-20 12:00:00Z ERR  MessageListener] Sleeping for 30 seconds before retrying.", Event{Kind: RetryAttempt, Time: tsTime}},

		{"[RUNNER 2026-08-20 12:00:00Z INFO Runner] Acknowledging runner request '4711'.", Event{Kind: JobOffered, Time: tsTime}},
		{"[RUNNER 2026-08-20 12:00:00Z INFO Runner] Skipping message Job. Job message conflict", Event{Kind: JobSkipped, Time: tsTime}},
		{ts + "Running job: build (linux)", Event{Kind: JobStarted, Time: tsTime, Job: "build (linux)"}},
		{ts + "Running job: ", Event{Kind: JobStarted, Time: tsTime}},
		{ts + "Job build (linux) completed with result: Succeeded", Event{Kind: JobCompleted, Time: tsTime, Job: "build (linux)", Result: Succeeded}},
		{ts + "Job a completed with result: SucceededWithIssues", Event{Kind: JobCompleted, Time: tsTime, Job: "a", Result: SucceededWithIssues}},
		{ts + "Job a completed with result: Abandoned", Event{Kind: JobCompleted, Time: tsTime, Job: "a", Result: Abandoned}},
		{ts + "Job a completed with result: Exploded", Event{Kind: JobCompleted, Time: tsTime, Job: "a"}},
		// Names of jobs are written by strangers.
		{ts + "Job x completed with result: Failed completed with result: Succeeded", Event{Kind: JobCompleted, Time: tsTime, Job: "x completed with result: Failed", Result: Succeeded}},
		{ts + "Running job: x completed with result: Failed", Event{Kind: JobStarted, Time: tsTime, Job: "x completed with result: Failed"}},
		{ts + "Running job: " + ts + "Runner reconnected.", Event{Kind: JobStarted, Time: tsTime, Job: ts + "Runner reconnected."}},
		{ts + "Running job: Runner connect error: x. Retrying until reconnected.", Event{Kind: JobStarted, Time: tsTime, Job: "Runner connect error: x. Retrying until reconnected."}},
		{ts + "Job [RUNNER ü√ completed with result: Canceled", Event{Kind: JobCompleted, Time: tsTime, Job: "[RUNNER ü√", Result: Canceled}},

		{"A session for this runner already exists.", Event{Kind: SessionConflict}},
		{"Stop retry on SessionConflictException after retried for 240 seconds.", Event{Kind: Notice}},
		{"Failed to create session. Error: Conflict", Event{Kind: Failure, Reason: Other}},
		{"Failed to create session. Runner version v2.300.0 is deprecated and cannot receive messages.", Event{Kind: Failure, Reason: VersionDeprecated}},
		{"Failed to create session. You are not authorized to access https://x.", Event{Kind: Failure, Reason: Unauthorized}},
		{"Failed to create a session. The runner registration has been deleted from the server, please re-configure. Runner registrations are automatically deleted for runners that have not connected to the service recently.", Event{Kind: Failure, Reason: RegistrationDeleted}},
		{"The runner no longer exists on the server. Please reconfigure the runner.", Event{Kind: Failure, Reason: RegistrationDeleted}},
		{"The runner no longer exists on the server. Cleaning up local configuration.", Event{Kind: Failure, Reason: RegistrationDeleted}},
		{"The local machine's clock may be out of sync with the server time by more than five minutes. Please sync your clock with your domain or internet time and try again.", Event{Kind: Failure, Reason: ClockSkew}},
		{"An error occurred: Runner version v2.300.0 is deprecated and cannot receive messages.", Event{Kind: Failure, Reason: VersionDeprecated}},
		{errorOccured + "Runner version v2.300.0 is deprecated and cannot receive messages.", Event{Kind: Failure, Reason: VersionDeprecated}},
		{errorOccured + "Runner not found", Event{Kind: Failure, Reason: RegistrationDeleted}},
		{"An error occurred: You are not authorized to access https://x.", Event{Kind: Failure, Reason: Unauthorized}},
		{"An error occurred: Not configured. Run config.(sh/cmd) to configure the runner.", Event{Kind: Failure, Reason: NotConfigured}},
		{"Runner is not configured.", Event{Kind: Failure, Reason: NotConfigured}},
		{"An error occurred: Get next message failed with non-retryable error.", Event{Kind: Failure, Reason: Other}},
		{ts + "An error occurred: x", Event{Kind: Failure, Time: tsTime, Reason: Other}},
		{"Fail to create and validate runner's work directory '/x'.", Event{Kind: Failure, Reason: Other}},

		{"Exiting...", Event{Kind: Exiting}},
		{"Runner listener exit with retryable error, re-launch runner in 5 seconds.", Event{Kind: Exited}},
		{"Runner listener exited with code 2.", Event{Kind: Exited}},
		{"Exiting with unknown error code: 137", Event{Kind: Exited}},
		{"√ Removed .credentials", Event{Kind: Notice}},
		{"Runner update in progress, do not shutdown runner.", Event{Kind: Notice}},
	} {
		got, ok := Parse([]byte(tc.line))
		if !ok {
			t.Errorf("Parse(%q): not recognized", tc.line)
			continue
		}
		if got.Text == "" {
			t.Errorf("Parse(%q): Text is empty", tc.line)
		}
		got.Text = ""
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tc.line, diff)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for line, want := range map[string]Kind{
		"":                                    Unrecognized,
		"\n":                                  Unrecognized,
		"Listening for Jobs":                  Unrecognized, // no time stamp: not the listener
		"Running job: fake":                   Unrecognized,
		"Job x completed with result: Failed": Unrecognized,
		" " + ts + "Listening for Jobs":       Unrecognized,
		"2026-08-20T12:00:00Z: Listening for Jobs":                          Unrecognized,
		"2026-13-20 12:00:00Z: Listening for Jobs":                          Unrecognized,
		"[WORKER 2026-08-20 12:00:00Z INFO X] " + ts + "Listening for Jobs": Unrecognized,
		// The console line itself comes too, so the mirror is never counted.
		"[RUNNER 2026-08-20 12:00:00Z INFO Terminal] WRITE LINE: " + ts + "Listening for Jobs":               Unrecognized,
		"[RUNNER 2026-08-20 12:00:00Z ERR  Terminal] WRITE ERROR: A session for this runner already exists.": Unrecognized,
		"[RUNNER 2026-08-20 12:00:00Z INFO X] job: Sleeping for 1 seconds before retrying.":                  Unrecognized,
		"[RUNNER junk] Sleeping for 1 seconds before retrying.":                                              Unrecognized,
		"Runner registered. Waiting for a job...":                                                            Unrecognized,
		`time=2026-08-20T12:00:00Z level=INFO msg="slot changed" cause="An error occurred: x"`:               Unrecognized,
		"prefix An error occurred: x":                                                                        Unrecognized,
		ts + "Job x completed with result: ":                                                                 Unrecognized,
		ts + "Job x completed with result: Failed; really":                                                   Unrecognized,
	} {
		got, ok := Parse([]byte(line))
		if ok {
			t.Errorf("Parse(%q) = %+v, want it rejected", line, got)
		}
		if got.Kind != want {
			t.Errorf("Parse(%q): Kind %d, want %d", line, got.Kind, want)
		}
	}
	if e, ok := Parse([]byte(ts + "Something new in 3.0")); ok || e.Kind != Unrecognized || !e.Time.Equal(tsTime) {
		t.Errorf("a stamped unknown line: %+v %v, want Unrecognized with its time", e, ok)
	}
}

func TestParseIsBounded(t *testing.T) {
	name := strings.Repeat("é", 5000)
	e, ok := Parse([]byte(ts + "Job " + name + " completed with result: Failed"))
	if !ok || e.Result != Failed || len(e.Job) > MaxText || len(e.Text) > MaxText || !utf8.ValidString(e.Job) {
		t.Errorf("long name: %v, result %q, %d bytes of name", ok, e.Result, len(e.Job))
	}
	if _, ok := Parse([]byte(ts + "Running job: " + strings.Repeat("x", MaxLine))); ok {
		t.Error("a line longer than MaxLine was parsed")
	}
	if e, ok := Parse([]byte(ts + "Running job: a\xff\xfeb")); !ok || e.Job != "ab" {
		t.Errorf("invalid UTF-8: %q %v", e.Job, ok)
	}
}

func TestPatternsHaveSources(t *testing.T) {
	for _, p := range patterns {
		if p.source == "" {
			t.Errorf("pattern %q has no source", p.prefix)
		}
		if (p.kind == Failure) != (p.reason != "") {
			t.Errorf("pattern %q: kind %d with reason %q", p.prefix, p.kind, p.reason)
		}
	}
}

func TestIgnoredLinesDoNotAllocate(t *testing.T) {
	for _, line := range ignoredLines() {
		if n := testing.AllocsPerRun(100, func() { Parse(line) }); n != 0 {
			t.Errorf("Parse(%.60q): %v allocations, want 0", line, n)
		}
	}
}

func ignoredLines() [][]byte {
	return [][]byte{
		[]byte("[WORKER 2026-08-20 12:00:00Z INFO JobRunner] " + strings.Repeat("job output ", 50)),
		[]byte("[RUNNER 2026-08-20 12:00:00Z INFO Terminal] WRITE LINE: " + ts + "Listening for Jobs"),
		[]byte(`time=2026-08-20T12:00:00Z level=INFO msg="slot changed" from=listening to=job`),
		[]byte(""),
	}
}

func BenchmarkParse(b *testing.B) {
	for name, line := range map[string][]byte{
		"worker":   ignoredLines()[0],
		"mirror":   ignoredLines()[1],
		"logfmt":   ignoredLines()[2],
		"started":  []byte(ts + "Running job: build (linux)"),
		"finished": []byte(ts + "Job build (linux) completed with result: Succeeded"),
		"attempt":  []byte("[RUNNER 2026-08-20 12:00:00Z INFO BrokerMessageListener] Sleeping for 28.273 seconds before retrying."),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(line)
			}
		})
	}
}

// BenchmarkScan reads logs as text, line by line, through the session of a slot: what a job prints,
// and what a listener says in the life of one job and one outage, with the diagnostic lines that
// repeat it.
func BenchmarkScan(b *testing.B) {
	worker := strings.Repeat("[WORKER 2026-08-20 12:00:00Z INFO ProcessInvokerWrapper] STDOUT/STDERR stream read: go: downloading github.com/prometheus/client_golang v1.23.2, and what a build prints besides\n", 5000)
	var spoken strings.Builder
	for _, line := range []string{
		"", "√ Connected to GitHub", "", "Current runner version: '2.336.0'", ts + "Listening for Jobs",
		ts + "Runner connect error: Resource temporarily unavailable (broker.actions.githubusercontent.com:443). Retrying until reconnected.",
		"[RUNNER 2026-08-20 12:00:00Z INFO BrokerMessageListener] Sleeping for 28.273 seconds before retrying.",
		ts + "Runner reconnected.",
		ts + "Running job: build (linux)",
		"[RUNNER 2026-08-20 12:00:00Z INFO JobDispatcher] Successfully renew job 3b2f8a52-5f7e-4c67-9b0e-0f6c6a1f5a10, job is valid till 08/20/2026 12:10:00",
		ts + "Job build (linux) completed with result: Succeeded",
		"√ Removed .credentials", "√ Removed .runner", "Runner listener exited with code 0.",
	} {
		if strings.HasPrefix(line, ts) {
			spoken.WriteString("[RUNNER 2026-08-20 12:00:00Z INFO Terminal] WRITE LINE: " + line + "\n")
		}
		spoken.WriteString(line + "\n")
	}
	for name, text := range map[string]string{"worker": worker, "listener": strings.Repeat(spoken.String(), 500)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var s Session
			log := []byte(text)
			for b.Loop() {
				for rest := log; len(rest) > 0; {
					end := bytes.IndexByte(rest, '\n')
					s.Line(tsTime, rest[:end])
					rest = rest[end+1:]
				}
			}
			if s.Counts().LogLines == 0 || s.Counts().Unrecognized > 0 {
				b.Errorf("counted %+v", s.Counts())
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		ts + "Running job: x", ts + "Job x completed with result: Failed", ts + "Listening for Jobs", "√ Connected to GitHub",
		errorOccured, "[RUNNER 2026-08-20 12:00:00Z INFO X] Sleeping for 1 seconds before retrying.", "[WORKER ", ts,
		"Current runner version: '", ts + "Job  completed with result: ",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok := Parse(line)
		if len(e.Job) > MaxText || len(e.Text) > MaxText || len(e.Version) > MaxText {
			t.Errorf("unbounded: %+v", e)
		}
		if !utf8.ValidString(e.Job) || !utf8.ValidString(e.Text) || !utf8.ValidString(e.Version) {
			t.Errorf("invalid UTF-8: %+v", e)
		}
		if ok && e.Kind == Unrecognized {
			t.Errorf("recognized as Unrecognized: %q", line)
		}
		if hasPrefix(line, workerPrefix) && ok {
			t.Errorf("a worker's line has a meaning: %q", line)
		}
		var s Session
		s.Line(tsTime, line)
		if n := s.Counts().LogLines; n != 1 {
			t.Errorf("LogLines = %d", n)
		}
	})
}
