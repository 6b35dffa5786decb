package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"vnode/cmd/internal/config"
)

// Health is what a running node says of itself.
type Health struct {
	// OK is what was asked for: healthy or ready.
	OK      bool     `json:"ok"`
	State   string   `json:"state"`
	Reasons []string `json:"reasons"`
}

func (h Health) String() string {
	return strings.Join(append([]string{h.State}, h.Reasons...), "; ")
}

// AskHealth asks a node at its admin address whether it works, or whether it is
// ready. An error means that no node has answered.
func AskHealth(ctx context.Context, address string, ready bool) (Health, error) {
	var h Health
	path := "/healthz"
	if ready {
		path = "/readyz"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+config.Dialable(address)+path, nil)
	if err != nil {
		return h, err
	}
	req.Close = true // the node waits for open connections when it ends
	// No proxy of the environment: the node is on this machine.
	resp, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		return h, fmt.Errorf("the node does not answer at its admin address %s: %w", address, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&h); err != nil {
		return h, fmt.Errorf("what answers at %s is no node: %w", address, err)
	}
	return h, nil
}
