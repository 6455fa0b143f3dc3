{{/* Root without anything but the capabilities that follow. Never privileged. */}}
{{- define "mesh.root" -}}
# The owner of bpffs and of the cgroup tree.
runAsUser: 0
runAsGroup: 0
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
# The runtime's AppArmor profile forbids writing below /sys/fs/bpf, and looking at other profiles' processes, which is
# how namespaces are found.
appArmorProfile:
  type: Unconfined
{{- end }}

{{- define "mesh.wire" -}}
image: {{ .Values.images.repository }}/mesh-agent:{{ include "mesh.tag" . }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
args:
  - wire
  - --node=$(NODE_NAME)
  - --run-dir=/run/mesh
  - --pod-dir=/run/mesh-pod
  # As long as relay's connections may take to finish, and a little longer.
  - --linger={{ add .Values.agent.drainSeconds 5 }}s
  - --pin-root=/sys/fs/bpf/mesh
  - --cgroup-root=/host/cgroup
  - --relay-uid=15008
  {{- range .Values.agent.podsRoots }}
  - {{ . | printf "--pods-root=%s" | quote }}
  {{- end }}
  {{- range .Values.agent.uplinks }}
  - {{ . | printf "--uplink=%s" | quote }}
  {{- end }}
env:
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: RUST_LOG
    value: {{ .Values.agent.log | quote }}
# What each process needs of the node, and why: docs/node.md.
securityContext:
  {{- include "mesh.root" . | nindent 2 }}
  # All that it may; SYS_RESOURCE is never among it.
  capabilities:
    drop: [ALL]
    add:
      # Loads the programs and makes their maps.
      - BPF
      # The verifier's rules for pointers: the programs compare and keep addresses of sockets.
      - PERFMON
      # Attaches them to the cgroup tree, to namespaces and to pods' interfaces; closes connections that a changed
      # policy denies; sets the route of the tunnel's loopback addresses in pods' namespaces.
      - NET_ADMIN
      # Enters pods' network namespaces (setns), to make sockets there; opens programs and links by their ids.
      - SYS_ADMIN
      # Finds the namespace of a process of another user.
      - SYS_PTRACE
      # At the start, then dropped: gives the run directory and the sockets in it to relay's user.
      - CHOWN
{{- with .Values.agent.resources.wire }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: run
    mountPath: /run/mesh
  - name: pod
    mountPath: /run/mesh-pod
  {{- include "mesh.kernel" . | nindent 2 }}
{{- end }}

{{/* Where the kernel keeps what wire puts there. */}}
{{- define "mesh.kernel" -}}
# Not over the container's own, which shows where the container itself is. Nothing is written there.
- name: cgroup2
  mountPath: /host/cgroup
  readOnly: true
  mountPropagation: HostToContainer
# Programs, links and maps are pinned here and outlive the agent.
- name: bpffs
  mountPath: /sys/fs/bpf
  mountPropagation: HostToContainer
{{- end }}

{{/* Everything that wire has put into the kernel of a node, taken out of it again. */}}
{{- define "mesh.removing" -}}
image: {{ .Values.images.repository }}/mesh-agent:{{ include "mesh.tag" . }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  {{- include "mesh.root" . | nindent 2 }}
  capabilities:
    drop: [ALL]
    add:
      # Opens the links.
      - BPF
      # Detaches the programs.
      - NET_ADMIN
volumeMounts:
  - name: run
    mountPath: /run/mesh
  {{- include "mesh.kernel" . | nindent 2 }}
args:
  - uninstall
  - --pin-root=/sys/fs/bpf/mesh
  - --cgroup-root=/host/cgroup
  - --run-dir=/run/mesh
{{- end }}

{{- define "mesh.volumes" -}}
- name: cgroup2
  hostPath:
    path: {{ .Values.node.cgroup2 }}
    type: Directory
- name: bpffs
  hostPath:
    path: {{ .Values.node.bpffs }}
    type: Directory
# In memory on a node, so that relay may keep the node's certificate there: /run is a tmpfs.
- name: run
  hostPath:
    path: {{ .Values.node.run }}
    type: DirectoryOrCreate
{{- if not .Values.uninstall }}
# What wire and relay of one pod have in common. Of a node's two agents, while one takes over, each has its own.
- name: pod
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: controller
  projected:
    sources:
      # For the controller and nobody else: the API server does not accept it.
      - serviceAccountToken:
          audience: mesh-control
          expirationSeconds: 600
          path: token
      # Whom to believe at the first contact. The controller writes it; until then the pod waits.
      - configMap:
          name: mesh-roots
          items:
            - key: ca.crt
              path: ca.crt
            - key: trust-domain
              path: trust-domain
{{- end }}
{{- end }}
