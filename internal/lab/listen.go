package lab

import (
	"context"
	"encoding/json"
	"errors"
	"os"
)

// errDead: the poll's connection is broken for good.
var errDead = errors.New("poll is dead")

// update prints what a listener prints that updates itself, until the script around it takes over
// (SelfUpdaterV2.cs:68-130).
func (l *listener) update() {
	for _, line := range []string{
		"Runner update in progress, do not shutdown runner.", "Downloading 2.999.0 runner", "Waiting for current job finish running.",
		"Generate and execute update script.", "Runner will exit shortly for update, should be back online within 10 seconds.",
	} {
		l.term.WriteLine(line)
	}
}

// poller is the state of the message loop between two messages (BML:278-385). Only a message resets
// it, not a successful empty poll.
type poller struct {
	errors     int
	complained bool
}

// listen polls until a job has run or there is a reason to exit. ran is true if the local files
// must be removed.
func (l *listener) listen() (code int, ran bool) {
	var p poller
	for {
		m, err := l.poll(l.stop, &p, "Online")
		switch {
		case l.stop.Err() != nil:
			return 0, false
		case errors.Is(err, errDead):
			<-l.stop.Done()
			return 0, false
		case kind(err) == kindRunnerNotFound:
			l.term.WriteError("The runner no longer exists on the server. Cleaning up local configuration.")
			return exitSuccess, true
		case kind(err) == kindVersionTooOld:
			spelling, _ := l.client.fault(faultVersionDeprecated)
			if spelling == "old" { // until 2.333, which introduced the exit code
				l.term.WriteError("An error occured: " + err.Error()) //nolint:misspell // The runner's.
				return exitTerminated, false
			}
			l.term.WriteError("An error occurred: " + err.Error())
			if truthy(os.Getenv("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE")) {
				return exitDeprecated, false
			}
			return exitTerminated, false
		case kind(err) == kindSessionInvalid: // recreated without a message (BML:344-350)
			if code, ok := l.connect(); !ok {
				return code, false
			}
			continue
		case status(err) == 401 || status(err) == 403:
			l.term.WriteError("An error occurred: Get next message failed with non-retryable error.")
			return exitTerminated, false
		case err != nil:
			l.term.WriteError("An error occurred: " + err.Error())
			return exitRetryable, false
		case m != nil && m.Type == "RunnerRefresh":
			l.update()
			return exitUpdating, false
		case m == nil || m.Type != "RunnerJobRequest":
			continue
		}
		p = poller{}
		var request requestJSON
		if err := json.Unmarshal([]byte(m.Body), &request); err != nil {
			l.term.Trace("ERR ", "Runner", "Skipping message Job. "+err.Error())
			continue
		}
		if l.job(request) {
			return exitSuccess, true
		}
		if l.stop.Err() != nil {
			return 0, false
		}
	}
}

// poll polls once, and repeats after retryable errors. After errDead the caller can only wait to be
// stopped.
func (l *listener) poll(ctx context.Context, p *poller, status string) (*messageJSON, error) {
	v1 := false
	for {
		m, err := l.client.next(ctx, status)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			if v1 { // only the old queue prints this and resets its state (ML:291-296)
				l.term.WriteLine(stamped("Runner reconnected."))
				*p = poller{}
			}
			return m, nil
		case !retriable(err):
			return nil, err
		}
		p.errors++
		_, dead := l.client.fault(faultRetryLoop)
		_, v1 = l.client.fault(faultPollOutageV1)
		if p.errors == 10 && !dead && !v1 {
			return nil, err
		}
		l.term.Trace("ERR ", "BrokerMessageListener", "Retriable exception: "+err.Error())
		if !p.complained {
			p.complained = true
			l.term.WriteError(stamped("Runner connect error: " + err.Error() + ". Retrying until reconnected."))
		}
		if dead {
			for n := p.errors; l.backOff(ctx, n); n++ {
			}
			return nil, errDead
		}
		if !l.backOff(ctx, p.errors) {
			return nil, ctx.Err()
		}
	}
}

// retriable is true for all errors but answers that state a reason.
func retriable(err error) bool {
	switch kind(err) {
	case kindRunnerNotFound, kindVersionTooOld, kindSessionInvalid:
		return false
	}
	return status(err) != 401 && status(err) != 403
}
