// Durations that are too short to be meant: in JSON a number without a unit is nanoseconds.

package test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-veeam/veeam-auth"
)

// durationsOf calls found for each duration of a module: with its name in JSON, and with
// what sets it alone in a new module.
func durationsOf(t reflect.Type, at func(module reflect.Value) reflect.Value, found func(name string, set func(module any, d time.Duration))) {
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		here := func(module reflect.Value) reflect.Value { return at(module).Field(i) }
		switch inner := field.Type; {
		case inner == reflect.TypeFor[caddy.Duration](), inner == reflect.TypeFor[time.Duration]():
			found(name, func(module any, d time.Duration) { here(reflect.ValueOf(module).Elem()).SetInt(int64(d)) })
		case inner.Kind() == reflect.Struct && strings.HasPrefix(inner.PkgPath(), modulePath):
			durationsOf(inner, here, found)
		case inner.Kind() == reflect.Pointer && inner.Elem().Kind() == reflect.Struct && strings.HasPrefix(inner.Elem().PkgPath(), modulePath):
			durationsOf(inner.Elem(), func(module reflect.Value) reflect.Value {
				pointer := here(module)
				if pointer.IsNil() {
					pointer.Set(reflect.New(inner.Elem()))
				}
				return pointer.Elem()
			}, found)
		}
	}
}

// filled are the options that are looked at before the durations, by the ID of the module.
var filled = map[string]string{
	"http.reverse_proxy.transport.veeam_auth": `{"insecure_http": true, "passthrough": true, "lockout_budget": {"tries": 2, "window": "15m"}}`,
	"caddy.logging.writers.log_chain":         `{"key_file": "/k"}`,
}

func TestADurationThatIsTooShortToBeMeantIsRefused(t *testing.T) {
	seen := 0
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		of := reflect.TypeOf(info.New())
		if of.Kind() != reflect.Pointer || of.Elem().Kind() != reflect.Struct || !strings.HasPrefix(of.Elem().PkgPath(), modulePath) {
			continue
		}
		durationsOf(of.Elem(), func(module reflect.Value) reflect.Value { return module }, func(name string, set func(any, time.Duration)) {
			seen++
			for d, says := range map[time.Duration]string{90: name + " is 90ns", -time.Second: name + " is -1s"} {
				module := info.New()
				if text := filled[id]; text != "" {
					if err := caddy.StrictUnmarshalJSON([]byte(text), module); err != nil {
						t.Fatal(err)
					}
				}
				set(module, d)
				ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
				err := module.(caddy.Provisioner).Provision(ctx)
				cancel()
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%s with %s of %v says %v; check it with policy.CheckLeast", id, name, d, err)
				}
			}
		})
	}
	if seen < 10 {
		t.Errorf("%d durations found", seen)
	}
}
