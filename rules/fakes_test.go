package rules_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"
)

// media are the integrations with a subject and a text; the webhook gets Alertmanager's own JSON.
var media = []string{"slack", "discord", "ntfy", "mail"}

const mailPassword = "a-password-of-this-test" //nolint:gosec // not a credential of anything

type message struct{ subject, text string }

// fakes are servers that answer like Slack, Discord, ntfy and a mail server, and refuse what those
// would.
type fakes struct {
	url, smtp string

	mu     sync.Mutex
	inbox  map[string][]message // by medium
	hosts  map[string]bool      // of the alerts that the webhook got
	errors []string
}

func startFakes(t *testing.T) *fakes {
	t.Helper()
	f := &fakes{inbox: map[string][]message{}, hosts: map[string]bool{}}
	t.Cleanup(func() {
		for _, failure := range f.failures() {
			t.Error(failure)
		}
	})
	mux := http.NewServeMux()
	for path, take := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /slack": f.slack, "POST /discord": f.discord, "POST /ntfy": f.ntfy, "POST /webhook": f.webhook,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := take(w, r); err != nil {
				f.fail(r.URL.Path, err)
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.url = server.URL

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	f.smtp = listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				if err := f.mail(conn); err != nil {
					f.fail("mail", err)
				}
			}()
		}
	}()
	return f
}

func (f *fakes) record(medium string, m message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inbox[medium] = append(f.inbox[medium], m)
}

func (f *fakes) fail(who string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, who+": "+err.Error())
}

func (f *fakes) failures() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errors
}

// messages returns the messages about a host, oldest first.
func (f *fakes) messages(medium, host string) []message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.inbox[medium]), func(m message) bool { return hostOf(m.subject) != host })
}

func (f *fakes) posted(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hosts[host]
}

// slack is an incoming webhook:
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Where markup is
// enabled, < begins a link or a mention.
func (f *fakes) slack(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Attachments []struct {
			Title, Text, Fallback string
			TitleLink             string   `json:"title_link"`
			MrkdwnIn              []string `json:"mrkdwn_in"`
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	if len(body.Attachments) != 1 {
		return fmt.Errorf("%d attachments", len(body.Attachments))
	}
	a := body.Attachments[0]
	if a.Fallback != a.Title || a.TitleLink == "" || slices.Contains(a.MrkdwnIn, "text") || strings.ContainsAny(a.Title+a.Text, "<>") {
		return fmt.Errorf("not what Slack should get: %+v", a)
	}
	f.record("slack", message{a.Title, a.Text})
	_, err := io.WriteString(w, "ok")
	return err
}

// embeds is the JSON of a webhook of Discord:
// https://docs.discord.com/developers/resources/webhook#execute-webhook
type embeds struct {
	Content string
	Embeds  []struct{ Description string }
}

func (f *fakes) discord(w http.ResponseWriter, r *http.Request) error {
	var body embeds
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	if len(body.Embeds) != 1 || len(body.Content) > 2000 || len(body.Embeds[0].Description) > 4096 || strings.Contains(body.Content, "@") {
		return fmt.Errorf("not what Discord should get: %+v", body)
	}
	f.record("discord", message{body.Content, body.Embeds[0].Description})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ntfy fills the templates in the query with the JSON of the body, and refuses more than 4,096
// bytes: https://docs.ntfy.sh/publish/#message-templating
func (f *fakes) ntfy(w http.ResponseWriter, r *http.Request) error {
	var body any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	filled := map[string]string{}
	for _, name := range []string{"t", "m"} {
		tmpl, err := template.New(name).Parse(query.Get(name))
		if err != nil {
			return err
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, body); err != nil {
			return err
		}
		filled[name] = b.String()
	}
	if query.Get("tpl") != "yes" || filled["m"] == "" || len(filled["m"]) > 4096 {
		return fmt.Errorf("not what ntfy accepts: %v, %d bytes", query, len(filled["m"]))
	}
	f.record("ntfy", message{filled["t"], filled["m"]})
	_, err = io.WriteString(w, `{"id":"x","event":"message"}`)
	return err
}

func (f *fakes) webhook(_ http.ResponseWriter, r *http.Request) error {
	var body struct {
		Alerts []struct{ Labels map[string]string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range body.Alerts {
		f.hosts[a.Labels["host"]] = true
	}
	return nil
}

// mail accepts one message by SMTP (RFC 5321), after AUTH PLAIN.
func (f *fakes) mail(conn net.Conn) error {
	c := textproto.NewConn(conn)
	say := func(line string) error { return c.PrintfLine("%s", line) }
	if err := say("220 fake"); err != nil {
		return err
	}
	for authenticated := false; ; {
		line, err := c.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer := "250 ok"
		switch verb := strings.ToUpper(strings.Fields(line + " .")[0]); {
		case verb == "EHLO":
			answer = "250-fake\r\n250 AUTH PLAIN"
		case verb == "AUTH":
			given, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "AUTH PLAIN "))
			authenticated = string(given) == "\x00ghostrunner@example.com\x00"+mailPassword
			answer = "235 ok"
		case !authenticated && verb != "QUIT":
			return fmt.Errorf("%q without the right password", line)
		case verb == "DATA":
			if err := say("354 go on"); err != nil {
				return err
			}
			m, err := parseMail(c.DotReader())
			if err != nil {
				return err
			}
			f.record("mail", m)
		case verb == "QUIT":
			return say("221 bye")
		}
		if err := say(answer); err != nil {
			return err
		}
	}
}

// parseMail wants one part, of plain text.
func parseMail(r io.Reader) (message, error) {
	m, err := mail.ReadMessage(bufio.NewReader(r))
	if err != nil {
		return message{}, err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return message{}, err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return message{}, err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	part, err := parts.NextPart() // decodes quoted-printable
	if err != nil {
		return message{}, err
	}
	text, err := io.ReadAll(part)
	if err != nil {
		return message{}, err
	}
	if kind := part.Header.Get("Content-Type"); kind != "text/plain; charset=UTF-8" {
		return message{}, fmt.Errorf("a part is %s", kind)
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		return message{}, fmt.Errorf("more than one part: %w", err)
	}
	_, err = io.Copy(io.Discard, m.Body) // to the end of DATA
	return message{subject, strings.ReplaceAll(string(text), "\r\n", "\n")}, err
}
