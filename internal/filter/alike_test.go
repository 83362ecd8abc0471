// What the filter takes out of an answer, the log masks as well.

package filter

import (
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

func TestFilterAndLogKnowTheSameSecrets(t *testing.T) {
	const canary = "canary"
	for _, document := range []string{
		`{"displayName":"password","value":"@"}`, `{"value":"@","displayName":"password"}`, `{"name":"secret key","value":"@"}`,
		`[{"newValue":"@","x":{"value":"y"},"propertyName":"/a/0/apiKey"}]`, `{"key":"recoveryKey","defaultValue":["@"]}`,
		`{"a":[{"label":"Token","type":"string","oldValue":{"b":"@"}}]}`,
		`{"tokenValue":"@"}`, `{"passwordText":"@"}`, `{"sshKey":"@"}`, `{"recoveryKey":"@"}`, `{"licenseKey":"@"}`, `{"SSH_Key_Pem":"@"}`,
		`{"secretString":"@"}`, `{"storageAccountKeyValue":"@"}`, `{"connectionStrings":["@"]}`, `{"passwordHash":"@"}`, `{"adminPasswordBase64":"@"}`,
		`{"preSharedKey":"@"}`, `{"productKey":"@"}`, `{"keyMaterial":"@"}`, `{"blobSasUrl":"@"}`, `{"seedPhrase":"@"}`,
		`{"url":"https://u:@\u0040host/x"}`, `["see https:\/\/@:p\u0040host\/x for more"]`, `["https://a/?b=c&sig=@&d=e","SharedAccessSignature=@;x"]`,
		`["/x?X-Amz-Signature\u003d@","?access_\u0074oken=@","a token = @","https://h:1433;user=sa;password=@;x"]`,
		`["password='@ x' y","Cookie = a=b; c=@","/r?to=https%3A%2F%2Fh%3Fsig%3D@"]`, `["/r?to=https%3A%2F%2Fu%3A@%40h%2F","sig%253D@"]`, `["https://h?token=@#https://u:@\u0040h"]`,
	} {
		document = strings.ReplaceAll(document, "@", canary)
		if got := through(t, document); strings.Contains(got, canary) {
			t.Errorf("the filter: %s", got)
		}
		if got := string(svclog.MaskJSON(nil, []byte(document))); strings.Contains(got, canary) {
			t.Errorf("the log: %s", got)
		}
	}
	for _, document := range []string{
		`["https://h/@?b=@&c=@","a =@","https%3A%2F%2Fh%3Fa%3D@"]`, `{"name":"size","value":"@"}`, `{"value":"@","name":"Backup Job 1"}`, `{"errorCodeText":"@"}`, `{"keyValue":"@"}`, `{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","value":"@"}`,
		`{"licenseKeyId":"@"}`, `{"passwordHint":"@"}`, `{"content":"@"}`, `{"textValue":"@"}`,
	} {
		document = strings.ReplaceAll(document, "@", canary)
		if got := through(t, document); got != document {
			t.Errorf("the filter: %s", got)
		}
		if got := string(svclog.MaskJSON(nil, []byte(document))); got != document {
			t.Errorf("the log: %s", got)
		}
	}
}
