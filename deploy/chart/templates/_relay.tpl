{{- define "mesh.relay" -}}
image: {{ .Values.images.repository }}/mesh-agent:{{ include "mesh.tag" . }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
args:
  - relay
  - --node=$(NODE_NAME)
  - --run-dir=/run/mesh
  - --pod-dir=/run/mesh-pod
  - --control=tcp:mesh-control.{{ .Release.Namespace }}.svc:15012
  - --service-account=/var/run/secrets/mesh
  - {{ .Values.agent.metrics | printf "--metrics=%s:15020" | quote }}
  - --max-snapshot-age={{ .Values.agent.maxSnapshotAge }}
  # Among what the container says, where the runtime bounds it.
  - --access-log=-
  - --drain={{ .Values.agent.drainSeconds }}s
  {{- with .Values.agent.workers }}
  - --workers={{ . }}
  {{- end }}
env:
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: RUST_LOG
    value: {{ .Values.agent.log | quote }}
# No `ports`: they would be the node's, and keep the next agent from starting beside this one. /metrics is at 15020.
# No liveness probe: restarting what is slow makes it slower, and cuts the tunnels. Readiness is asked of this relay, not
# of whichever has the node's port.
readinessProbe:
  exec:
    command: [/usr/bin/mesh-agent, ready, --pod-dir=/run/mesh-pod]
  periodSeconds: 5
  timeoutSeconds: 5
# It reads what strangers send and holds keys: no capability, nothing to write but the run directory.
securityContext:
  runAsNonRoot: true
  # A user of its own: who has the same one on the node, and may look at its processes, may look into them.
  runAsUser: 15008
  runAsGroup: 15008
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with .Values.agent.resources.relay }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: run
    mountPath: /run/mesh
  - name: pod
    mountPath: /run/mesh-pod
  - name: controller
    mountPath: /var/run/secrets/mesh
    readOnly: true
{{- end }}
