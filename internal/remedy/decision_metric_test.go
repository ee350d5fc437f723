package remedy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestLastDecisions is about what people are told of an alert that stands: what was done to its target last, and why it is
// not done again.
func TestLastDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(runnerContainer("ci-1", ActionRestart), runnerContainer("ci-2"))
		r, reg, _ := start(t, d, nil)
		ready(t, r)
		begin := time.Now()
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		elapse(3 * time.Second)
		r.mu.Lock()
		restarted := r.state.records[1].Ended
		r.mu.Unlock()
		for _, a := range []map[string]any{
			alertOf("B", ActionRestart, "runner", "ci-1"), alertOf("B", ActionRestart, "runner", "ci-2"),
			alertOf("B", ActionRestart, "runner", "nobody"), // has no target, and makes no series
		} {
			send(t, r, a)
			elapse(time.Second)
		}
		const name = "ghostrunner_remediator_last_decision_timestamp_seconds"
		series := func(target, outcome, reason string, at time.Time) string {
			return fmt.Sprintf("%s{action=\"restart\",outcome=%q,reason=%q,target=%q} %g\n", name, outcome, reason, target, seconds(at))
		}
		want := "# HELP " + name + " When this was last decided about the target; of all actions taken the latest, and of all refusals the latest.\n" +
			"# TYPE " + name + " gauge\n" +
			series("ci-1", "completed", "", restarted) +
			series("ci-1", "refused", "cooldown", begin.Add(3*time.Second)) +
			series("ci-2", "refused", "not_allowed", begin.Add(4*time.Second))
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), name); err != nil {
			t.Error(err)
		}
	})
}
