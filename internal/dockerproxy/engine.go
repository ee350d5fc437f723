package dockerproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// engine reads the labels of a container or an image, which rules decide by.
type engine struct{ http *http.Client }

// errEngine reports a failure of the engine, as opposed to a refusal.
var errEngine = errors.New("the Docker engine")

var errUnknown = errors.New("there is no such object")

// maxAnswer bounds an answer of the engine, in bytes.
const maxAnswer = 8 << 20

// container returns the labels of a container. It uses the list, because the container's own answer
// contains its environment.
func (e engine) container(ctx context.Context, id string) (map[string]string, error) {
	filters, err := json.Marshal(map[string]map[string]bool{"id": {id: true}})
	if err != nil {
		return nil, err
	}
	var list []struct {
		ID     string `json:"Id"`
		Labels map[string]string
	}
	if err := e.get(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}}, &list); err != nil {
		return nil, err
	}
	for _, c := range list {
		if c.ID == id {
			return c.Labels, nil
		}
	}
	return nil, errUnknown
}

func (e engine) image(ctx context.Context, ref string) (map[string]string, error) {
	var image struct {
		Config struct{ Labels map[string]string }
	}
	err := e.get(ctx, "/images/"+ref+"/json", nil, &image)
	return image.Config.Labels, err
}

func (e engine) get(ctx context.Context, path string, query url.Values, into any) error {
	u := url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w does not answer: %w", errEngine, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errUnknown
	default:
		return fmt.Errorf("%w answers %s", errEngine, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("%w gives an answer that cannot be read: %w", errEngine, err)
	}
	return nil
}
