package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Bounds of the API.
const (
	defaultAttempts = 50
	maxExplain      = 1000
	explainTimeout  = 30 * time.Second
)

const maxForm = 4 << 10

// api is a handler of the API: fn gets a request whose parameters, from its query or its form, are
// all known and given at most once. An empty one counts as left out.
func (s *Server) api(auth func(http.Handler) http.Handler, fn http.HandlerFunc, known ...string) http.Handler {
	return limited(s.requests, auth(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if fromForm(req) {
			req.Body = http.MaxBytesReader(w, req.Body, maxForm)
		}
		if err := req.ParseForm(); err != nil {
			badParameter(w, "parameters", err)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(req.Form)) {
			switch {
			case !slices.Contains(known, name):
				badParameter(w, name, fmt.Errorf("no such parameter; known are %q", known))
				return
			case len(req.Form[name]) > 1:
				badParameter(w, name, errors.New("is given more than once"))
				return
			}
		}
		fn(w, req)
	})))
}

func badParameter(w http.ResponseWriter, name string, err error) {
	http.Error(w, runner.Printable(name+": "+err.Error(), 160), http.StatusBadRequest)
}

func (s *Server) getAttempts(w http.ResponseWriter, req *http.Request) {
	limit, since := defaultAttempts, time.Time{}
	var err error
	if v := req.Form.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > remedy.MaxHistory {
			badParameter(w, "limit", fmt.Errorf("want a number from 1 to %d", remedy.MaxHistory))
			return
		}
	}
	if v := req.Form.Get("since"); v != "" {
		if since, err = remedy.ParseSince(v, time.Now()); err != nil {
			badParameter(w, "since", err)
			return
		}
	}
	reply(w, s.remediator.Attempts(since, limit))
}

func (s *Server) getBreakers(w http.ResponseWriter, _ *http.Request) {
	reply(w, s.remediator.Breakers())
}

func (s *Server) getStatus(w http.ResponseWriter, req *http.Request) {
	status := s.remediator.Status()
	status.Targets = s.remediator.Targets(req.Context())
	reply(w, status)
}

func (s *Server) postReset(w http.ResponseWriter, req *http.Request) {
	s.respond(w, req, s.remediator.Reset(req.PathValue("runner")), s.getBreakers)
}

func (s *Server) postPause(w http.ResponseWriter, req *http.Request) {
	var length time.Duration
	var err error
	if v := req.Form.Get("for"); v != "" {
		if length, err = remedy.ParsePause(v); err != nil {
			badParameter(w, "for", err)
			return
		}
	}
	s.respond(w, req, s.remediator.Pause(length), s.getStatus)
}

func (s *Server) postResume(w http.ResponseWriter, req *http.Request) {
	s.respond(w, req, s.remediator.Resume(), s.getStatus)
}

// respond answers a request that changed something: a form with the page, everything else with
// JSON.
func (s *Server) respond(w http.ResponseWriter, req *http.Request, err error, then http.HandlerFunc) {
	switch {
	case errors.Is(err, remedy.ErrUnknownRunner):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		unavailable(w, err)
	case fromForm(req):
		http.Redirect(w, req, "/", http.StatusSeeOther)
	default:
		then(w, req)
	}
}

func fromForm(req *http.Request) bool {
	typ, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	return err == nil && typ == "application/x-www-form-urlencoded"
}

func (s *Server) postExplain(w http.ResponseWriter, req *http.Request) {
	m, ok := s.readPayload(w, req)
	if !ok {
		return
	}
	if len(m.Alerts) > maxExplain {
		http.Error(w, "alerts: more than "+strconv.Itoa(maxExplain), http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), explainTimeout)
	defer cancel()
	reply(w, s.remediator.Explain(ctx, m.notices()))
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // an error means that the client went away
}
