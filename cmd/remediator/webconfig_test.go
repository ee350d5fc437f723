package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

// sign makes NAME.crt and NAME.key in the authority's folder.
func (a *authority) sign(name string, template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	a.write(name+".crt", string(certPEM))
	a.write(name+".key", string(keyPEM))
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.cert, a.key = pair.Leaf, key
	}
	return pair
}

func (a *authority) write(name, content string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// client is an HTTP client that trusts the authority and shows a certificate, if there is one. It
// follows no redirect.
func (a *authority) client(certs ...tls.Certificate) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool, Certificates: certs}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const watchdogPayload = `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"GhostrunnerWatchdog"},"startsAt":"2026-01-01T00:00:00Z","fingerprint":"f"}]}`

// answer is what is of interest in a response.
type answer struct {
	status   int
	location string
	cookies  []*http.Cookie
}

func request(t *testing.T, c *http.Client, method, target, contentType, body string, header ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return answer{resp.StatusCode, resp.Header.Get("Location"), resp.Cookies()}, nil
}

// TestMutualTLS is the webhook behind --web.config.file: TLS, a certificate of the client, and the
// token as well.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	a.sign("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	good := a.sign("alertmanager", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	stranger := newAuthority(t).sign("alertmanager", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	config := a.write("web.yml", "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n")
	p := serveInProcess(t, "--docker.host=unix:///does/not/exist.sock", "--web.config.file="+config)
	secret, err := os.ReadFile(p.token)
	if err != nil {
		t.Fatal(err)
	}
	token := "Bearer " + strings.TrimSpace(string(secret))
	secure := "https://" + strings.TrimPrefix(p.url, "http://")

	for name, c := range map[string]*http.Client{"no certificate": a.client(), "certificate of a stranger": a.client(stranger)} {
		if resp, err := request(t, c, "POST", secure+"/webhook", "application/json", watchdogPayload, "Authorization", token); err == nil {
			t.Errorf("%s: answered with %d", name, resp.status)
		}
	}
	if resp, err := request(t, http.DefaultClient, "POST", p.url+"/webhook", "application/json", watchdogPayload, "Authorization", token); err == nil && resp.status != http.StatusBadRequest {
		t.Errorf("without TLS: answered with %d", resp.status)
	}
	client := a.client(good)
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, token: 202} {
		resp, err := request(t, client, "POST", secure+"/webhook", "application/json", watchdogPayload, "Authorization", header)
		if err != nil || resp.status != want {
			t.Errorf("certificate and %.8q: %v %v, want %d", header, resp, err, want)
		}
	}
	// The subcommands come through the same door.
	clientConfig := a.write("http.yml", "tls_config:\n  ca_file: ca.crt\n  cert_file: alertmanager.crt\n  key_file: alertmanager.key\n")
	bad := a.write("bad.yml", "tls_config:\n  ca_file: ca.crt\n")
	for file, want := range map[string]int{clientConfig: 0, bad: 1, "/does/not/exist": 1, a.write("wrong.yml", "a: 1\nb: 2\n"): 1} {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"--remediator.url=" + secure, "--web.bearer-token-file=" + p.token, "--http.config.file=" + file, "history"}, &out, &errs)
		if code != want || strings.Count(errs.String(), "\n") != code {
			t.Errorf("history with %s: exit %d, %s%s", file, code, out.String(), errs.String())
		}
		if code := run(t.Context(), []string{"--remediator.url=" + secure + "/", "--http.config.file=" + file, "healthcheck"}, &out, &errs); code != want {
			t.Errorf("healthcheck with %s: exit %d, %s", file, code, errs.String())
		}
	}
	// Who signs in over TLS gets a cookie that no plain connection ever shows.
	resp, err := request(t, client, "POST", secure+"/signin", "application/x-www-form-urlencoded", url.Values{"token": {strings.TrimPrefix(token, "Bearer ")}}.Encode())
	if err != nil || resp.status != http.StatusSeeOther || len(resp.cookies) != 1 || !resp.cookies[0].Secure {
		t.Errorf("sign in over TLS: %v %v", resp, err)
	}
}

// TestBasicAuthentication covers every path, the health of the program included, and leaves the
// buttons of the page usable.
func TestBasicAuthentication(t *testing.T) {
	a := newAuthority(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("test"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := a.write("web.yml", "basic_auth_users:\n  alice: "+string(hash)+"\n")
	p := serveInProcess(t, "--docker.host=unix:///does/not/exist.sock", "--web.config.file="+config)
	const alice = "Basic YWxpY2U6dGVzdA=="
	client := a.client()
	for _, path := range []string{"/", "/metrics", "/-/ready", "/-/healthy", "/api/v1/status"} {
		if resp, err := request(t, client, "GET", p.url+path, "", ""); err != nil || resp.status != 401 {
			t.Errorf("%s without a password: %v %v", path, resp, err)
		}
	}
	if resp, err := request(t, client, "GET", p.url+"/", "", "", "Authorization", alice); err != nil || resp.status != 200 {
		t.Errorf("the page with the password: %v %v", resp, err)
	}
	secret, err := os.ReadFile(p.token)
	if err != nil {
		t.Fatal(err)
	}
	const form = "application/x-www-form-urlencoded"
	signIn := url.Values{"token": {strings.TrimSpace(string(secret))}}.Encode()
	resp, err := request(t, client, "POST", p.url+"/signin", form, signIn, "Authorization", alice)
	if err != nil || len(resp.cookies) != 1 {
		t.Fatalf("sign in with the password: %v %v", resp, err)
	}
	cookie := resp.cookies[0].Name + "=" + resp.cookies[0].Value
	for want, header := range map[string][]string{
		"/":                        {"Authorization", alice, "Cookie", cookie},
		"/?signin=again":           {"Authorization", alice},
		"" /* 401, no redirect */ : {"Cookie", cookie},
	} {
		resp, err := request(t, client, "POST", p.url+"/api/v1/pause", form, "for=1h", header...)
		if err != nil || resp.location != want {
			t.Errorf("pause with %q: %v %v, want %q", header, resp, err, want)
		}
	}
}
