"""Starts the perception node: ros2 launch hybridnet_ros hybridnet.launch.py image:=/camera/image_raw"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from hybridnet_ros.resources import share_path

BOOLEANS = ["", "true", "false", "True", "False"]

ARGUMENTS = [
    DeclareLaunchArgument(
        "params_file",
        default_value=str(share_path("config", "hybridnet.yaml")),
        description="YAML file with the node's parameters.",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Least severe messages to log.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=BOOLEANS,
        description="Whether the node configures and activates itself; empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="",
        choices=BOOLEANS,
        description="Whether time is taken from /clock, as for bags and simulators; empty: as in params_file.",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node, for instance front."),
    DeclareLaunchArgument("name", default_value="hybridnet", description="Name of the node."),
    DeclareLaunchArgument(
        "image",
        default_value="image",
        description="Topic of the camera images; compressed ones are looked for at the same name with /compressed.",
    ),
    DeclareLaunchArgument(
        "camera_info",
        default_value="",
        description="Topic of the camera's CameraInfo; empty: camera_info beside the images.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Image topics or names of several cameras, as [/front/image_raw, /rear/image_raw]; "
        "empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "engine",
        default_value="",
        description="Name of a shipped engine or path of an .onnx file; empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "runtime",
        default_value="",
        description="What runs the engine (auto, tensorrt, onnx_cuda, onnx_cpu, openvino); empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "dds_profile",
        default_value="true",
        choices=BOOLEANS[1:],
        description="Whether Fast DDS gets shared memory that fits images, unless you chose a profile yourself.",
    ),
]


def start_node(context: LaunchContext) -> list[Node]:
    """The node action; made when the arguments are known, so that empty ones leave params_file in force."""
    given = {name: text for name, text in context.launch_configurations.items() if text}
    parameters = {name: ParameterValue(given[name], value_type=str) for name in ("engine", "runtime") if name in given}
    parameters.update({name: given[name].lower() == "true" for name in ("autostart", "use_sim_time") if name in given})
    if "cameras" in given:
        parameters["cameras"] = [name.strip(" '\"") for name in given["cameras"].strip("[] ").split(",")]
    return [
        Node(
            package="hybridnet_ros",
            executable="hybridnet_node",
            name=given["name"],
            namespace=given.get("namespace", ""),
            parameters=[given["params_file"], parameters] if parameters else [given["params_file"]],
            remappings=[(topic, given[topic]) for topic in ("image", "camera_info") if topic in given],
            ros_arguments=["--log-level", given["log_level"]],
            arguments=[] if given["dds_profile"].lower() == "true" else ["--own-dds-profile"],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
