package lab

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// stamp is .NET's DateTime.UtcNow:u: UTC, whole seconds, a space instead of the T.
const stamp = "2006-01-02 15:04:05Z"

func timestamp() string { return time.Now().UTC().Format(stamp) }

// terminal writes a listener's console, and the diagnostic file that mirrors it (T:154-185). It is
// safe for concurrent use and writes whole lines.
type terminal struct {
	mu     sync.Mutex
	stdout io.Writer
	stderr io.Writer
	diag   io.WriteCloser
	echo   bool // diagnostic lines also go to stdout (ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT)
}

// openDiag creates _diag/KIND_yyyyMMdd-HHmmss-utc.log in root (HTL:12,186), or appends to it within
// the same second.
func openDiag(root, kind string) (io.WriteCloser, error) {
	dir := filepath.Join(root, "_diag")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for diagnostics: %w", err)
	}
	name := filepath.Join(dir, kind+"_"+time.Now().UTC().Format("20060102-150405")+"-utc.log")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the diagnostic log: %w", err)
	}
	return f, nil
}

func (t *terminal) WriteLine(line string) {
	t.Trace("INFO", "Terminal", "WRITE LINE: "+line)
	t.print(t.stdout, line)
}

func (t *terminal) WriteError(line string) {
	t.Trace("ERR ", "Terminal", "WRITE ERROR: "+line)
	t.print(t.stderr, line)
}

// Success prints a ticked line, with neither a timestamp nor a mirrored line.
func (t *terminal) Success(line string) { t.print(t.stdout, "√ "+line) }

// stamped puts the time before a line, as in job, listening and connection messages.
func stamped(line string) string { return timestamp() + ": " + line }

// Trace writes a diagnostic line. level is INFO, WARN, "ERR ", CRIT or VERB, four characters wide.
func (t *terminal) Trace(level, source, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.diag != nil {
		fmt.Fprintf(t.diag, "[%s %s %s] %s\n", timestamp(), level, source, text)
	}
	if t.echo {
		fmt.Fprintf(t.stdout, "[RUNNER %s %s %s] %s\n", timestamp(), level, source, text)
	}
}

func (t *terminal) print(w io.Writer, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(w, line+"\n")
}
