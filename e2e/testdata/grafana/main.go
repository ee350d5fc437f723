// Grafana replaces Grafana where no registry answers, to check what compose.yaml passes to it. It
// reads the password, the data source and the dashboards as Grafana does, is healthy only if all
// exist, and queries the data source. It shows no dashboards.
//
// These pages of Grafana's API give the answers that tests need:
//
//	GET /api/health                             no password; 503 if something is missing
//	GET /api/search?type=dash-db                title and uid of every dashboard
//	GET /api/datasources/uid/UID/health         whether the data source answers
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	server := &http.Server{Addr: ":3000", Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintln(os.Stderr, "this is a stand-in, not Grafana: no registry answered")
	err := server.ListenAndServe()
	stop()
	if !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "This is not Grafana: no registry answered for its image. It stands in for it, and would be given:")
		found, err := provisioned()
		for _, d := range found.Dashboards {
			fmt.Fprintf(w, "  dashboard %s (%s)\n", d.Title, d.UID)
		}
		for _, d := range found.DataSources {
			fmt.Fprintf(w, "  data source %s (%s) at %s\n", d.Name, d.UID, d.URL)
		}
		if err != nil {
			fmt.Fprintln(w, "  and this is wrong:", err)
		}
	})
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		_, err := provisioned()
		reply(w, map[string]string{"database": "ok", "version": "stand-in"}, err)
	})
	mux.HandleFunc("GET /api/search", behindPassword(func(w http.ResponseWriter, _ *http.Request) {
		found, err := provisioned()
		reply(w, found.Dashboards, err)
	}))
	mux.HandleFunc("GET /api/datasources/uid/{uid}/health", behindPassword(func(w http.ResponseWriter, r *http.Request) {
		found, err := provisioned()
		if err == nil {
			err = errors.New("no such data source")
		}
		for _, d := range found.DataSources {
			if d.UID == r.PathValue("uid") {
				err = ask(r.Context(), d.URL)
			}
		}
		reply(w, map[string]string{"status": "OK"}, err)
	}))
	return mux
}

func reply(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		answer = map[string]string{"message": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client is gone
}

func behindPassword(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := password()
		user, got, _ := r.BasicAuth()
		if err != nil || user != "admin" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

// password is read as by the start script of Grafana's image.
func password() (string, error) {
	text, err := os.ReadFile(os.Getenv("GF_SECURITY_ADMIN_PASSWORD__FILE"))
	if err != nil {
		return "", err
	}
	if len(strings.TrimSpace(string(text))) < 20 {
		return "", errors.New("the password is too short")
	}
	return strings.TrimSpace(string(text)), nil
}

type (
	dataSource struct{ Name, UID, Type, URL string }
	dashboard  struct {
		Title string `json:"title"`
		UID   string `json:"uid"`
	}
	provision struct {
		DataSources []dataSource
		Dashboards  []dashboard
	}
)

// provisioned reads the provisioning files.
func provisioned() (found provision, err error) {
	if _, err := password(); err != nil {
		return found, err
	}
	const root = "/etc/grafana/provisioning/"
	err = each(root+"datasources/*.yml", func(text []byte) error {
		var file struct {
			DataSources []dataSource `yaml:"datasources"`
		}
		err := yaml.Unmarshal(text, &file)
		found.DataSources = append(found.DataSources, file.DataSources...)
		return err
	})
	if err != nil {
		return found, err
	}
	err = each(root+"dashboards/*.yml", func(text []byte) error {
		var file struct {
			Providers []struct{ Options struct{ Path string } }
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			return err
		}
		for _, p := range file.Providers {
			if err := each(filepath.Join(p.Options.Path, "*.json"), func(text []byte) error {
				var d dashboard
				err := json.Unmarshal(text, &d)
				if err == nil && (d.Title == "" || d.UID == "") {
					err = errors.New("no title or no uid")
				}
				found.Dashboards = append(found.Dashboards, d)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// each reads the files that match a pattern, at least one.
func each(pattern string, read func([]byte) error) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: there is no such file", pattern)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err == nil {
			err = read(text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// ask does what Grafana's test of a Prometheus data source does.
func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/query?query=1%2B1", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
