package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// secret is the bearer check of the webhook tests; the real one is web.Bearer.
func secret(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func many(n int) []map[string]any {
	out := make([]map[string]any, n)
	for i := range out {
		out[i] = alertOf("Many", remedy.ActionRestart, "runner", fmt.Sprintf("ci-runner-%d", i))
	}
	return out
}

func TestWebhookAnswers(t *testing.T) {
	w := start(t, &fakeDocker{}, nil)
	w.ready(t)
	good := payload(alertOf("A", remedy.ActionRestart, "runner", "x"))
	edit := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("payload has no %s", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	cases := []struct {
		name, method, auth, typ, body string
		code                          int
		says                          string
	}{
		{"no token", "POST", "", "application/json", good, 401, ""},
		{"wrong token", "POST", "Bearer nope", "application/json", good, 401, ""},
		{"get", "GET", "Bearer s3cret", "", "", 405, "POST"},
		{"form", "POST", "Bearer s3cret", "application/x-www-form-urlencoded", good, 415, "application/json"},
		{"no type", "POST", "Bearer s3cret", "", good, 415, "application/json"},
		{"garbage", "POST", "Bearer s3cret", "application/json", "garbage", 400, "body: not the JSON of a webhook: invalid character"},
		{"empty", "POST", "Bearer s3cret", "application/json", "", 400, "body: not the JSON of a webhook: EOF"},
		{"cut off", "POST", "Bearer s3cret", "application/json", good[:len(good)/2], 400, "body: not the JSON of a webhook: unexpected EOF"},
		{"null", "POST", "Bearer s3cret", "application/json", "null", 400, "version"},
		{"no fields", "POST", "Bearer s3cret", "application/json", "{}", 400, "version"},
		{"two values", "POST", "Bearer s3cret", "application/json", good + good, 400, "more than one"},
		{"version", "POST", "Bearer s3cret", "application/json", edit(`"version":"4"`, `"version":"3"`), 400, `version: is "3"`},
		{"alerts missing", "POST", "Bearer s3cret", "application/json", `{"version":"4"}`, 400, "alerts: missing"},
		{"alerts type", "POST", "Bearer s3cret", "application/json", `{"version":"4","alerts":{}}`, 400, "alerts"},
		{"label type", "POST", "Bearer s3cret", "application/json", edit(`"runner":"x"`, `"runner":7`), 400, "alerts.labels"},
		{"status", "POST", "Bearer s3cret", "application/json", edit(`"status":"firing"}]`, `"status":"f"}]`), 400, `alerts[0].status: is "f"`},
		{"time", "POST", "Bearer s3cret", "application/json", edit(`"endsAt":"0001-01-01T00:00:00Z"`, `"endsAt":"soon"`), 400, `time "soon"`},
		{"no start", "POST", "Bearer s3cret", "application/json", edit(`"startsAt":"2`, `"startsAt":"0001-01-01T00:00:00Z","x":"2`), 400, "alerts[0].startsAt"},
		{"no fingerprint", "POST", "Bearer s3cret", "application/json", edit(`"fingerprint":`, `"x":`), 400, "alerts[0].fingerprint"},
		{"too large", "POST", "Bearer s3cret", "application/json", good + strings.Repeat(" ", maxBody), 413, "16777216"},
		{"ten thousand", "POST", "Bearer s3cret", "application/json; charset=utf-8", payload(many(10_000)...), 202, "accepted 10000 of 10000"},
		{"unknown fields", "POST", "Bearer s3cret", "application/json", edit(`"version":"4"`, `"version":"4","news":{"a":[1]}`), 202, ""},
	}
	h := w.Webhook(secret)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), c.method, "/webhook", strings.NewReader(c.body))
			req.Header.Set("Authorization", c.auth)
			req.Header.Set("Content-Type", c.typ)
			a := httptest.NewRecorder()
			h.ServeHTTP(a, req)
			if a.Code != c.code || !strings.Contains(a.Body.String(), c.says) {
				t.Errorf("got %d %q, want %d %q", a.Code, a.Body, c.code, c.says)
			}
			if c.code == 405 && a.Header().Get("Allow") != "POST" {
				t.Errorf("Allow: %q", a.Header().Get("Allow"))
			}
		})
	}
	w.idle(t)
	if got := w.metric(t, "ghostrunner_remediator_webhook_requests_total", "code", "400"); got != 14 {
		t.Errorf("counted %v requests with 400, want 14", got)
	}
	if got := w.metric(t, "ghostrunner_remediator_actions_refused_total", "action", remedy.ActionRestart, "reason", remedy.NoTarget); got != 10_001 {
		t.Errorf("refused %v alerts, want 10001", got)
	}
	if n := len(w.remediator.Attempts(time.Time{}, 10_000)); n > remedy.MaxHistory {
		t.Errorf("history has %d lines, more than %d", n, remedy.MaxHistory)
	}
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// TestWebhookDoesNotWait is the promise that an answer never waits for Docker.
func TestWebhookDoesNotWait(t *testing.T) {
	asked := make(chan struct{}, 1)
	d, release := hanging(asked)
	w := start(t, d, nil)
	t.Cleanup(release)
	w.ready(t)
	// Docker hangs until the test has ended: an answer that waited for it would never come. How
	// long an answer takes is up to the disk, so it is told and not judged.
	answered := make(chan []time.Duration, 1)
	go func() {
		w.post(payload(alertOf("First", remedy.ActionRestart, "runner", "x")))
		<-asked
		var took []time.Duration
		for i := range 20 {
			began := time.Now()
			if a := w.post(payload(alertOf("Next", remedy.ActionRestart, "runner", strconv.Itoa(i)))); a.Code != http.StatusAccepted {
				t.Errorf("webhook answered %d: %s", a.Code, a.Body)
			}
			took = append(took, time.Since(began))
		}
		answered <- took
	}()
	select {
	case took := <-answered:
		slices.Sort(took)
		t.Logf("answered after %s to %s, median %s", took[0], took[19], took[10])
	case <-time.After(patience):
		t.Fatal("the webhook waits for Docker")
	}
	if got := w.remediator.Status().Queue; got != 21 {
		t.Errorf("%d alerts wait, want 21", got)
	}
}

func TestWebhookUnavailable(t *testing.T) {
	d, release := hanging(nil)
	w := start(t, d, func(o *remedy.Options) { o.QueueLimit = 3 })
	t.Cleanup(release)
	w.ready(t)
	w.send(t, many(3)...)
	if a := w.post(payload(alertOf("One", remedy.ActionRestart, "runner", "more"))); a.Code != 503 {
		t.Errorf("queue full: %d, want 503", a.Code)
	}
	w.send(t, alertOf("Heartbeat", "", "heartbeat", "true")) // needs no room
	ended := start(t, &fakeDocker{}, nil)
	ended.ready(t)
	ended.stop()
	if a := ended.post(payload(alertOf("One", remedy.ActionRestart, "runner", "more"))); a.Code != 503 {
		t.Errorf("stopped: %d, want 503", a.Code)
	}
	broken := start(t, &fakeDocker{}, func(o *remedy.Options) { o.JournalPath = filepath.Join(t.TempDir(), "no", "such", "folder") })
	until(t, "the journal's error", func() bool { return strings.Contains(fmt.Sprint(broken.remediator.Ready()), "no such file") })
	if a := broken.post(payload(many(1)...)); a.Code != 503 || !strings.Contains(a.Body.String(), "journal") {
		t.Errorf("broken journal: %d %s, want 503", a.Code, a.Body)
	}
}

// TestOnlyCounted are alerts that start nothing.
func TestOnlyCounted(t *testing.T) {
	w := start(t, &fakeDocker{list: []runner.Container{slot("ci-1")}}, nil)
	w.ready(t)
	resolved := alertOf("Gone", remedy.ActionRestart, "runner", "ci-1")
	resolved["status"] = "resolved"
	w.send(t, resolved, alertOf("NoRemediation", "", "runner", "ci-1"), alertOf("Any", "", "heartbeat", "true"))
	w.idle(t)
	if got := w.remediator.Attempts(time.Time{}, 10); len(got) != 0 {
		t.Errorf("journaled %v", got)
	}
	if time.Since(w.remediator.Status().Heartbeat) > time.Minute {
		t.Errorf("heartbeat %v", w.remediator.Status().Heartbeat)
	}
	const name = "ghostrunner_remediator_alerts_received_total"
	if f, g := w.metric(t, name, "status", "firing"), w.metric(t, name, "status", "resolved"); f != 2 || g != 1 {
		t.Errorf("counted %v firing, %v resolved", f, g)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(payload(alertOf("A", remedy.ActionRestart, "runner", "x"))))
	f.Add([]byte(`{"version":"4","alerts":[null]}`))
	f.Add([]byte(`{"Data":null,"version":"4","alerts":[{"status":"firing","labels":{"a":"\u001b"},"startsAt":"9999-12-31T23:59:59+23:59","fingerprint":"f"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(strings.NewReader(string(b)))
		if err != nil {
			if s := err.Error(); s == "" || len(s) > 1000 {
				t.Errorf("reason %q", s)
			}
			return
		}
		for _, in := range m.Alerts {
			a := keep(in, time.Now())
			if len(a.Labels) > len(kept) || len(a.Summary) > maxAnnotation || len(a.Fingerprint) > maxFingerprint {
				t.Errorf("not bounded: %+v", a)
			}
			for k, v := range a.Labels {
				if len(v) > maxLabelValue || !utf8.ValidString(k+v) || strings.ContainsFunc(k+v, unicode.IsControl) {
					t.Errorf("label %q=%q", k, v)
				}
			}
			if _, err := json.Marshal(a); err != nil {
				t.Error(err)
			}
		}
	})
}

// BenchmarkWebhook is what a webhook costs until it is answered, ten at once, while Docker hangs:
// one alert, a hundred of them, and the same hundred again and again.
func BenchmarkWebhook(b *testing.B) {
	for _, c := range []struct {
		name   string
		alerts int
		again  bool
	}{{"one", 1, false}, {"hundred", 100, false}, {"hundred again", 100, true}} {
		b.Run(c.name, func(b *testing.B) {
			d, release := hanging(nil)
			w := start(b, d, func(o *remedy.Options) { o.QueueLimit = 1 << 30 })
			b.Cleanup(release)
			w.ready(b)
			alerts := many(c.alerts)
			for i, a := range alerts {
				a["fingerprint"] = "@-" + strconv.Itoa(i)
			}
			body := payload(alerts...)
			if c.again {
				w.send(b, alerts...)
			}
			h := w.Webhook(open)
			var n atomic.Int64
			b.SetParallelism(5) // ten at once on two processors
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					body := body
					if !c.again {
						body = strings.ReplaceAll(body, "@", strconv.FormatInt(n.Add(1), 10))
					}
					req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/webhook", strings.NewReader(body))
					req.Header.Set("Content-Type", "application/json")
					w := httptest.NewRecorder()
					h.ServeHTTP(w, req)
					if w.Code != http.StatusAccepted {
						b.Error(w.Code, w.Body)
					}
				}
			})
			b.ReportMetric(float64(b.N*c.alerts)/b.Elapsed().Seconds(), "alerts/s")
		})
	}
}
