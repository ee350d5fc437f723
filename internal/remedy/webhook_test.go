package remedy

import (
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
		out[i] = alertOf("Many", ActionRestart, "runner", fmt.Sprintf("ci-runner-%d", i))
	}
	return out
}

func TestWebhookAnswers(t *testing.T) {
	r, reg, _ := start(t, newFake(), nil)
	ready(t, r)
	good := payload(alertOf("A", ActionRestart, "runner", "x"))
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
		{"garbage", "POST", "Bearer s3cret", "application/json", "garbage", 400, "not JSON at byte 1"},
		{"empty", "POST", "Bearer s3cret", "application/json", "", 400, "empty"},
		{"cut off", "POST", "Bearer s3cret", "application/json", good[:len(good)/2], 400, "ends too early"},
		{"null", "POST", "Bearer s3cret", "application/json", "null", 400, "version"},
		{"no fields", "POST", "Bearer s3cret", "application/json", "{}", 400, "version"},
		{"two values", "POST", "Bearer s3cret", "application/json", good + good, 400, "more than one"},
		{"version", "POST", "Bearer s3cret", "application/json", edit(`"version":"4"`, `"version":"3"`), 400, `version: is "3"`},
		{"alerts missing", "POST", "Bearer s3cret", "application/json", `{"version":"4"}`, 400, "alerts: missing"},
		{"alerts type", "POST", "Bearer s3cret", "application/json", `{"version":"4","alerts":{}}`, 400, "alerts: a JSON object"},
		{"label type", "POST", "Bearer s3cret", "application/json", edit(`"runner":"x"`, `"runner":7`), 400, "alerts.labels"},
		{"status", "POST", "Bearer s3cret", "application/json", edit(`"status":"firing"}]`, `"status":"f"}]`), 400, `alerts[0].status: is "f"`},
		{"time", "POST", "Bearer s3cret", "application/json", edit(`"endsAt":"0001-01-01T00:00:00Z"`, `"endsAt":"soon"`), 400, "endsAt"},
		{"no start", "POST", "Bearer s3cret", "application/json", edit(`"startsAt":"2`, `"startsAt":"0001-01-01T00:00:00Z","x":"2`), 400, "alerts[0].startsAt"},
		{"no fingerprint", "POST", "Bearer s3cret", "application/json", edit(`"fingerprint":`, `"x":`), 400, "alerts[0].fingerprint"},
		{"too large", "POST", "Bearer s3cret", "application/json", good + strings.Repeat(" ", maxBody), 413, "16777216"},
		{"ten thousand", "POST", "Bearer s3cret", "application/json; charset=utf-8", payload(many(10_000)...), 202, "accepted 10000 of 10000"},
		{"unknown fields", "POST", "Bearer s3cret", "application/json", edit(`"version":"4"`, `"version":"4","news":{"a":[1]}`), 202, ""},
	}
	h := r.Webhook(secret)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), c.method, "/webhook", strings.NewReader(c.body))
			req.Header.Set("Authorization", c.auth)
			req.Header.Set("Content-Type", c.typ)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, c.code, c.says)
			}
			if c.code == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow: %q", w.Header().Get("Allow"))
			}
		})
	}
	idle(t, r)
	if got := testutil.ToFloat64(r.metrics.requests.WithLabelValues("400")); got != 14 {
		t.Errorf("counted %v requests with 400, want 14", got)
	}
	if got := testutil.ToFloat64(r.metrics.refused.WithLabelValues(ActionRestart, string(NoTarget))); got != 10_001 {
		t.Errorf("refused %v alerts, want 10001", got)
	}
	if n := len(r.Attempts(10_000)); n > maxRefusals {
		t.Errorf("history has %d lines, more than %d", n, maxRefusals)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// TestWebhookDoesNotWait is the promise that an answer never waits for Docker.
func TestWebhookDoesNotWait(t *testing.T) {
	d := newFake()
	asked := make(chan struct{}, 1)
	release := d.hang(asked)
	r, _, _ := start(t, d, nil)
	t.Cleanup(release)
	ready(t, r)
	// Docker hangs until the test has ended: an answer that waited for it would never come. How long an answer takes is up
	// to the disk, so it is told and not judged.
	answered := make(chan []time.Duration, 1)
	go func() {
		post(r, payload(alertOf("First", ActionRestart, "runner", "x")))
		<-asked
		var took []time.Duration
		for i := range 20 {
			began := time.Now()
			if w := post(r, payload(alertOf("Next", ActionRestart, "runner", strconv.Itoa(i)))); w.Code != http.StatusAccepted {
				t.Errorf("webhook answered %d: %s", w.Code, w.Body)
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
	if got := r.Status().Queue; got != 21 {
		t.Errorf("%d alerts wait, want 21", got)
	}
}

func TestWebhookUnavailable(t *testing.T) {
	d := newFake()
	release := d.hang(nil)
	r, _, _ := start(t, d, func(o *Options) { o.QueueLimit = 3 })
	t.Cleanup(release)
	if w := post(&Remediator{deliveries: make(chan struct{}), metrics: r.metrics}, payload()); w.Code != 503 {
		t.Errorf("no free slot: %d, want 503", w.Code)
	}
	ready(t, r)
	three := many(3)
	send(t, r, three...)
	if w := post(r, payload(alertOf("One", ActionRestart, "runner", "more"))); w.Code != 503 {
		t.Errorf("queue full: %d, want 503", w.Code)
	}
	if w := post(r, payload(many(4)...)); w.Code != 413 {
		t.Errorf("more than the queue: %d, want 413", w.Code)
	}
	send(t, r, three...) // they wait already: no room is needed
	ended, _, stop := start(t, newFake(), nil)
	ready(t, ended)
	stop()
	if w := post(ended, payload(alertOf("One", ActionRestart, "runner", "more"))); w.Code != 503 {
		t.Errorf("stopped: %d, want 503", w.Code)
	}
	broken, _, _ := start(t, newFake(), func(o *Options) { o.JournalPath = filepath.Join(t.TempDir(), "no", "such", "folder") })
	until(t, "the journal's error", func() bool { return strings.Contains(fmt.Sprint(broken.Ready()), "no such file") })
	if w := post(broken, payload(many(1)...)); w.Code != 503 || !strings.Contains(w.Body.String(), "journal") {
		t.Errorf("broken journal: %d %s, want 503", w.Code, w.Body)
	}
}

// TestOnlyCounted are alerts that start nothing.
func TestOnlyCounted(t *testing.T) {
	d := newFake(runnerContainer("ci-1", ActionRestart))
	r, _, _ := start(t, d, nil)
	ready(t, r)
	resolved := alertOf("Gone", ActionRestart, "runner", "ci-1")
	resolved["status"] = "resolved"
	send(t, r, resolved, alertOf("NoRemediation", "", "runner", "ci-1"), alertOf(AlertWatchdog, ""))
	idle(t, r)
	if got := d.done(); len(got) != 0 {
		t.Errorf("did %v", got)
	}
	if got := r.Attempts(10); len(got) != 0 {
		t.Errorf("journalled %v", got)
	}
	if time.Since(r.Status().Heartbeat) > time.Minute {
		t.Errorf("heartbeat %v", r.Status().Heartbeat)
	}
	if f, g := testutil.ToFloat64(r.metrics.alerts.WithLabelValues("firing")), testutil.ToFloat64(r.metrics.alerts.WithLabelValues("resolved")); f != 2 || g != 1 {
		t.Errorf("counted %v firing, %v resolved", f, g)
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"ci-runner-1", 64, "ci-runner-1"},
		{"a\x1b[31mb\nc", 64, "a\uFFFD[31mb\uFFFDc"},
		{"a\u202eb", 64, "a\uFFFDb"},
		{"\xff\xfe", 64, "\uFFFD"},
		{strings.Repeat("x", 20), 10, "xxxxxxx…"},
		{strings.Repeat("ä", 20), 10, "äää…"},
		{strings.Repeat("\x00", 20), 10, "\uFFFD\uFFFD…"},
	} {
		if got := clean(c.in, c.limit); got != c.want {
			t.Errorf("clean(%q, %d) = %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(payload(alertOf("A", ActionRestart, "runner", "x"))))
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
			a := newAlert(in, time.Now())
			if len(a.Labels) > maxLabels || len(a.Summary) > maxAnnotation || len(a.Fingerprint) > maxFingerprint {
				t.Errorf("not bounded: %+v", a)
			}
			for k, v := range a.Labels {
				if len(k) > maxLabelName || len(v) > maxLabelValue || !utf8.ValidString(k+v) || strings.ContainsFunc(k+v, unicode.IsControl) {
					t.Errorf("label %q=%q", k, v)
				}
			}
			put(bucketInbox, seqKey(1), a) // must not panic
		}
	})
}

// BenchmarkWebhook is what a webhook costs until it is answered, ten at once, while Docker hangs: one alert, a hundred of them,
// and the same hundred again and again.
func BenchmarkWebhook(b *testing.B) {
	for _, c := range []struct {
		name   string
		alerts int
		again  bool
	}{{"one", 1, false}, {"hundred", 100, false}, {"hundred again", 100, true}} {
		b.Run(c.name, func(b *testing.B) {
			d := newFake()
			release := d.hang(nil)
			r, _, _ := start(b, d, func(o *Options) { o.QueueLimit = 1 << 30 })
			b.Cleanup(release)
			ready(b, r)
			alerts := many(c.alerts)
			for i, a := range alerts {
				a["fingerprint"] = "@-" + strconv.Itoa(i)
			}
			body := payload(alerts...)
			if c.again {
				send(b, r, alerts...)
			}
			h := r.Webhook(open)
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
