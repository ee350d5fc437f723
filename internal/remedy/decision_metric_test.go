package remedy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestLastDecisions is about what people are told of an alert that stands: what was done to its
// target last, and why it is not done again.
func TestLastDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1", ActionRestart), slot("ci-2"))
		r, reg, _ := start(t, d, nil)
		ready(t, r)
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		elapse(3 * time.Second)
		restarted := r.store.State().Records[1].Ended
		for _, a := range []Notice{
			alertOf("B", ActionRestart, "runner", "ci-1"), alertOf("B", ActionRestart, "runner", "ci-2"),
			alertOf("B", ActionRestart, "runner", "unknown"), // has no target, and makes no series
		} {
			send(t, r, a)
			elapse(time.Second)
		}
		const name = "ghostrunner_remediator_last_decision_timestamp_seconds"
		series := func(target, outcome, reason string, at time.Time) string {
			return fmt.Sprintf("%s{action=\"restart\",outcome=%q,reason=%q,target=%q} %g\n", name, outcome, reason, target, seconds(at))
		}
		refused := func(target string) (at time.Time) {
			for _, rec := range r.store.State().Refusals {
				if rec.Target == target {
					at = rec.At()
				}
			}
			return at
		}
		want := "# HELP " + name + " When this was last decided about the target; of all actions taken the latest, and of all refusals the latest.\n" +
			"# TYPE " + name + " gauge\n" +
			series("ci-1", "completed", "", restarted) +
			series("ci-1", "refused", "cooldown", refused("ci-1")) +
			series("ci-2", "refused", "not_allowed", refused("ci-2"))
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), name); err != nil {
			t.Error(err)
		}
	})
}
