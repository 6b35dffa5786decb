package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"vnode/cmd/internal/admin"
	"vnode/internal/guard"
)

// Jicofo does not say which nodes it is logged in at, so the nodes say it of
// themselves: each tells at /readyz whether jicofo is logged in there.

// askOthers is how long the other nodes have to answer.
const askOthers = 3 * time.Second

// takesOver reports, as an error, that jicofo could use none of the other nodes in
// this one's place. It blocks until one has answered that it could.
func (n *Node) takesOver(ctx context.Context) error {
	others := n.cfg.Load().OtherNodes
	if len(others) == 0 {
		return errors.New(`other-nodes is empty, so no other node is known that jicofo could use; set it, or drain all the same with {"force": true}`)
	}
	ctx, cancel := context.WithTimeout(ctx, askOthers)
	defer cancel()
	answers := make(chan error, len(others))
	for _, address := range others {
		go func() { answers <- n.askOther(ctx, address) }()
	}
	var why []string
	for range others {
		err := <-answers
		if err == nil {
			return nil
		}
		why = append(why, err.Error())
	}
	return fmt.Errorf("no other node can take over: %s; see to one of them, or drain all the same with {\"force\": true}", strings.Join(why, "; "))
}

func (n *Node) askOther(ctx context.Context, address string) (err error) {
	err = errors.New("a fault of the program while " + address + " was asked") // if there is a panic
	defer n.guard.Recover(guard.Task, guard.Named("other nodes"))
	return readyForJicofo(ctx, address)
}

// readyForJicofo asks a node whether it takes conferences and jicofo is there. This
// node itself does not count: where all nodes are told the same list, each finds
// itself in it.
func readyForJicofo(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", address, err)
	}
	defer resp.Body.Close()
	var r admin.Report
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&r); err != nil {
		return fmt.Errorf("%s is no node's admin address: %w", address, err)
	}
	switch {
	case r.Process == admin.Process:
		return fmt.Errorf("%s is this node itself", address)
	case r.State != admin.Ready:
		return fmt.Errorf("%s is %s", address, r.State)
	case !r.Focus:
		return fmt.Errorf("jicofo is not logged in at %s", address)
	}
	return nil
}
