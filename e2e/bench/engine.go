package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// docker simulates an engine with n healthy runner containers: it answers the exporter's requests
// and keeps the event stream and all logs open. Nothing changes.
func docker(n int) http.Handler {
	created := time.Now().Add(-time.Hour)
	type summary struct {
		ID            string   `json:"Id"`
		Names         []string `json:"Names"`
		Image         string
		State, Status string
		Created       int64
		Labels        map[string]string
	}
	list := make([]summary, n)
	for i := range list {
		list[i] = summary{
			ID: fmt.Sprintf("%064x", i+1), Names: []string{"/gr-" + slot(i)}, Image: "ghostrunner-runner", State: "running", Status: "Up 2 hours (healthy)",
			Created: created.Unix(),
			Labels: map[string]string{ // Compose's labels are much longer than ours
				"ghostrunner.role": "runner", "ghostrunner.runner": slot(i), "ghostrunner.heal": "restart,backoff",
				"com.docker.compose.config-hash": strings.Repeat("0f", 32), "com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False",
				"com.docker.compose.project": "ghostrunner", "com.docker.compose.project.config_files": "/home/ci/ghostrunner/compose/compose.yaml",
				"com.docker.compose.project.working_dir": "/home/ci/ghostrunner/compose", "com.docker.compose.service": slot(i), "com.docker.compose.version": "2.40.3",
			},
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.51") })
	mux.HandleFunc("GET /{version}/containers/json", func(w http.ResponseWriter, _ *http.Request) { answer(w, list) })
	mux.HandleFunc("GET /{version}/info", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"DockerRootDir": "/"}) })
	mux.HandleFunc("GET /{version}/system/df", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{}) })
	mux.HandleFunc("GET /{version}/events", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	// The log of a listening runner: the start of the listener and of the supervisor.
	var history []byte
	for i, line := range []string{
		`time=2026-11-25T08:00:00.000Z level=INFO msg="runner registered" slot=ci-runner attempt=1`, "", "√ Connected to GitHub", "",
		"Current runner version: '2.336.0'", created.UTC().Format(time.DateTime) + "Z: Listening for Jobs",
	} {
		text := created.Add(time.Duration(i)*time.Millisecond).UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + line + "\n"
		history = append(history, 1, 0, 0, 0)
		history = binary.BigEndian.AppendUint32(history, uint32(len(text)))
		history = append(history, text...)
	}
	mux.HandleFunc("GET /{version}/containers/{id}/logs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.docker.multiplexed-stream")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(history)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Get("follow") == "1" {
			<-r.Context().Done()
		}
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the exporter reports what is missing
}
