package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
)

// bom starts the JSON files of the .NET runner (IOUtil.cs:40-43); readers must strip it.
const bom = "\xef\xbb\xbf"

// The runner's files (ConfigurationStore.cs:14-60), as far as a listener needs them. Defaults are
// omitted, as .NET does.
type (
	runnerSettings struct {
		AgentID       int64  `json:"agentId"`
		AgentName     string `json:"agentName"`
		PoolID        int64  `json:"poolId"`
		PoolName      string `json:"poolName"`
		DisableUpdate bool   `json:"disableUpdate,omitempty"`
		Ephemeral     bool   `json:"ephemeral,omitempty"`
		ServerURL     string `json:"serverUrl,omitempty"`
		WorkFolder    string `json:"workFolder"`
		UseV2Flow     bool   `json:"useV2Flow,omitempty"`
		ServerURLV2   string `json:"serverUrlV2,omitempty"`
	}
	credentials struct {
		Scheme string          `json:"scheme"`
		Data   credentialsData `json:"data"`
	}
	credentialsData struct {
		ClientID         string `json:"clientId"`
		AuthorizationURL string `json:"authorizationUrl"`
		RequireFIPS      string `json:"requireFipsCryptography"`
	}
	rsaParams struct {
		D        []byte `json:"d"`
		DP       []byte `json:"dp"`
		DQ       []byte `json:"dq"`
		Exponent []byte `json:"exponent"`
		InverseQ []byte `json:"inverseQ"`
		Modulus  []byte `json:"modulus"`
		P        []byte `json:"p"`
		Q        []byte `json:"q"`
	}
)

// sharedKey is the private key of all registrations of this process: its signatures are never
// verified, and generating a key is slow.
var sharedKey = sync.OnceValues(newRSAParams)

func newRSAParams() (rsaParams, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return rsaParams{}, fmt.Errorf("make a runner key: %w", err)
	}
	key.Precompute()
	return rsaParams{
		D: key.D.Bytes(), DP: key.Precomputed.Dp.Bytes(), DQ: key.Precomputed.Dq.Bytes(),
		Exponent: big.NewInt(int64(key.E)).Bytes(), InverseQ: key.Precomputed.Qinv.Bytes(), Modulus: key.N.Bytes(),
		P: key.Primes[0].Bytes(), Q: key.Primes[1].Bytes(),
	}, nil
}

// encodeJIT returns a just-in-time configuration: base64 of a JSON map from file name to base64 of
// the content (R:234-268).
func encodeJIT(settings runnerSettings, cred credentials, key rsaParams) (string, error) {
	files := map[string][]byte{} // encoding/json writes []byte as base64
	for name, v := range map[string]any{fileRunner: settings, fileCredentials: cred, fileRSAParams: key} {
		b, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("encode %s: %w", name, err)
		}
		files[name] = append([]byte(bom), b...)
	}
	b, err := json.Marshal(files)
	if err != nil {
		return "", fmt.Errorf("encode the configuration: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// decodeJIT reverses encodeJIT. Only the three known files are returned.
func decodeJIT(blob string) (map[string][]byte, error) {
	b, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		return nil, fmt.Errorf("decode the configuration: %w", err)
	}
	var all map[string][]byte
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("decode the configuration: %w", err)
	}
	files := map[string][]byte{}
	for _, name := range []string{fileRunner, fileCredentials, fileRSAParams} {
		if content, ok := all[name]; ok {
			files[name] = content
		}
	}
	return files, nil
}

// The files in a runner's root folder.
const (
	fileRunner      = ".runner"
	fileCredentials = ".credentials"
	fileRSAParams   = ".credentials_rsaparams"
)
