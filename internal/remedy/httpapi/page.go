package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pagePolicy lets the page have its one style sheet, its icon and its own forms, and nothing else:
// no script at all.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"css":   func() template.CSS { return template.CSS(pageCSS) },
	"path":  url.PathEscape,
	"list":  func(s []string) string { return strings.Join(s, ", ") },
	"took":  func(from, to time.Time) string { return span(to.Sub(from)) },
	"words": func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") },
}).Parse(pageHTML))

const (
	// pageAttempts and pageFiring are how many of each the page shows.
	pageAttempts = 30
	pageFiring   = 50
)

// view is what the page shows.
type view struct {
	Now      time.Time
	Status   remedy.Status
	Attempts []journal.Record
	// Hidden is how many alerts fire that are not shown.
	Hidden int
	// SignedIn shows the buttons, SignIn says why it is asked again.
	SignedIn bool
	SignIn   string
}

// signInWords says what came of an attempt to sign in, by the value of the parameter signin.
var signInWords = map[string]string{
	"wrong": "That is not the token.",
	"again": "Nothing was done: your session has ended, or never began. Sign in and press the button again.",
}

// Page is the status page: what a person wants to know at a glance, and for those whom signedIn
// knows the buttons of the API. It works without scripts. Reading it needs no token, as /metrics
// needs none.
func (s *Server) Page(signedIn func(*http.Request) bool) http.Handler {
	return limited(s.requests, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := view{
			Now: time.Now(), Status: s.remediator.Status(), Attempts: s.remediator.Attempts(time.Time{}, pageAttempts),
			SignedIn: signedIn(req), SignIn: signInWords[req.URL.Query().Get("signin")],
		}
		v.Status.Targets = s.remediator.Targets(req.Context())
		if n := len(v.Status.Firing) - pageFiring; n > 0 {
			v.Status.Firing, v.Hidden = v.Status.Firing[:pageFiring], n
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // the forms must name their origin
		h.Set("Cache-Control", "no-store")
		_ = pageTemplate.Execute(w, v) // an error means that the client went away
	}))
}

// headline is the state of everything in a few words: the worst that can be said of it.
type headline struct{ Tone, Title, Text string }

// Headline is shown on top.
func (v view) Headline() headline {
	s := v.Status
	switch {
	case !s.Journal:
		return headline{"bad", "Nothing can be accepted", s.Reason}
	case !s.DockerUp:
		return headline{"bad", "Docker does not answer", "Alerts are refused until it does."}
	case s.Paused && !s.PausedUntil.IsZero():
		return headline{"wait", "Paused for another " + span(s.PausedUntil.Sub(v.Now)), "Every alert is refused. What was stopped is started all the same."}
	case s.Paused:
		return headline{"wait", "Paused until resumed", "Every alert is refused. What was stopped is started all the same."}
	case s.Silent:
		return headline{"bad", "No heartbeat", s.Reason + ". Meanwhile containers that Docker calls unhealthy are restarted."}
	case !s.WindowOpens.IsZero():
		return headline{"wait", "Outside of the maintenance window", "Every alert is refused until it opens, in " + span(s.WindowOpens.Sub(v.Now)) + "."}
	case s.DryRun:
		return headline{"wait", "Dry run", "Everything is decided and written down, and nothing is done."}
	case len(s.Unfinished) > 0:
		return headline{"busy", "Healing", count(len(s.Unfinished), "container is", "containers are") + " on the way back."}
	case len(s.Firing) > 0:
		return headline{"wait", count(len(s.Firing)+v.Hidden, "alert fires", "alerts fire"), "What was decided about each stands below."}
	case s.Heartbeat.IsZero():
		return headline{"wait", "Waiting for a heartbeat", "Nothing has been heard from Alertmanager since the start."}
	default:
		return headline{"good", "All quiet", "Nothing fires that asks for an action."}
	}
}

// Unfinished is what was begun on a target and is not over.
func (v view) Unfinished(target string) *remedy.Unfinished {
	for _, u := range v.Status.Unfinished {
		if u.Target == target {
			return &u
		}
	}
	return nil
}

// When is a time, and how long ago or ahead it is.
func (v view) When(t time.Time) when {
	switch d := v.Now.Sub(t); {
	case t.IsZero():
		return when{Near: "never"}
	case d < 0:
		return when{t.UTC(), "in " + span(-d.Truncate(time.Second))}
	case d < time.Second:
		return when{t.UTC(), "just now"}
	default:
		return when{t.UTC(), span(d.Truncate(time.Second)) + " ago"}
	}
}

type when struct {
	At   time.Time
	Near string
}

// tones of what a word means for people, as classes of the style sheet.
var tones = map[string]string{
	string(journal.Completed): "good", string(journal.Failed): "bad",
	string(journal.Closed): "good", string(journal.Open): "bad", string(journal.HalfOpen): "wait",
	"running": "good", "healthy": "good", "unhealthy": "bad", "starting": "busy", "restarting": "wait", "paused": "wait",
	"exited": "bad", "dead": "bad", "created": "wait", "critical": "bad", "warning": "wait", "info": "busy",
}

// Tone is the class of a word.
func (v view) Tone(word any) string {
	if word == journal.Running { // a container that runs is well, an action that runs is not over
		return "busy"
	}
	return tones[fmt.Sprint(word)]
}

// At is the time of the last thing that happened in a record.
func (v view) At(r journal.Record) time.Time { return r.At() }

// TargetTone is the worst of a target: its breaker, its health, its state.
func (v view) TargetTone(t remedy.Target) string {
	switch {
	case t.Working:
		return "busy"
	case t.Breaker != nil && t.Breaker.State != journal.Closed:
		return v.Tone(t.Breaker.State)
	case t.Health != "" && v.Tone(t.State) == "good":
		return v.Tone(t.Health)
	default:
		return v.Tone(t.State)
	}
}

// span is a length of time in one or two units.
func span(d time.Duration) string {
	d = max(d, 0)
	s := int(d.Round(time.Second).Seconds())
	switch {
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 2*3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 2*86400:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", s/3600, s%3600/60), " 0 min")
	default:
		return strings.TrimSuffix(fmt.Sprintf("%d d %d h", s/86400, s%86400/3600), " 0 h")
	}
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
